package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vxorch/inventory"
	"vxorch/orchestrator/packets"
	"vxorch/remote/hostapi"
)

// Point is where a capture listens.
type Point struct {
	Name string // as it is called in the file: unique
	Host string
	At   hostapi.CapturePoint
	// Underlay: At has no link yet; it is the device that carries the host's tunnels.
	Underlay bool
	Outside  bool // not known to be the lab's: the host's own traffic may pass there
}

// Points reads points as users write them; see the usage of vxorch capture.
func Points(lab *inventory.Lab, words []string) (points []Point, err error) {
	add := func(p Point) {
		if !slices.ContainsFunc(points, func(q Point) bool { return q.Host == p.Host && q.At == p.At && q.Underlay == p.Underlay }) {
			points = append(points, p)
		}
	}
	for _, word := range words {
		what, host, isKind := strings.Cut(word, "@")
		before, link, hasLink := strings.Cut(word, ":")
		switch {
		case isKind && what == "port":
			legs := legs(lab, host)
			if len(legs) == 0 {
				return nil, fmt.Errorf("point %s: no container and no VM is called %q", word, host)
			}
			for _, end := range legs {
				add(Point{Name: end.Host + ":" + end.leg.Link, Host: end.Host, At: hostapi.CapturePoint{Link: end.leg.Link}})
			}
		case isKind:
			if lab.Host(host).Name == "" {
				return nil, fmt.Errorf("point %s: no host is called %q", word, host)
			}
			if what == Underlay {
				add(Point{Name: word, Host: host, Underlay: true, Outside: true})
				continue
			}
			if what != VTEP && what != "bridge" {
				return nil, fmt.Errorf("point %s: before @ stands underlay, vtep, bridge or port", word)
			}
			for _, n := range lab.Networks {
				name := n.VXLAN
				if what == "bridge" {
					name = n.Name
				}
				add(Point{Name: host + ":" + name, Host: host, At: hostapi.CapturePoint{Link: name}})
			}
		case len(legs(lab, before)) > 0:
			found := false
			for _, end := range legs(lab, before) {
				if hasLink && end.leg.Inner != link {
					continue
				}
				found = true
				at := hostapi.CapturePoint{Netns: end.netns, Link: end.leg.Inner}
				if end.guest != nil {
					at = hostapi.CapturePoint{Link: end.leg.Link} // what is inside a guest, nobody sees
				}
				add(Point{Name: before + ":" + end.leg.Inner, Host: end.Host, At: at})
			}
			if !found {
				return nil, fmt.Errorf("point %s: %s has no %s", word, before, link)
			}
		case lab.Host(before).Name != "" && link != "":
			at := hostapi.CapturePoint{Link: link}
			if netns, inner, ok := strings.Cut(link, "/"); ok {
				at = hostapi.CapturePoint{Netns: netns, Link: inner}
			}
			add(Point{Name: word, Host: before, At: at, Outside: at.Netns == ""})
		default:
			return nil, fmt.Errorf("point %s: it names no container, VM or host of the inventory", word)
		}
	}
	return points, nil
}

// Filter reads words that say which packets are wanted; all have to hold.
func Filter(lab *inventory.Lab, text string) (w packets.Want, err error) {
	words := strings.Fields(text)
	for i := 0; i < len(words); i++ {
		word := words[i]
		address, isAddress := netip.ParseAddr(word)
		ends := legs(lab, word)
		switch {
		case word == "and":
		case word == "vxlan":
			w.Tunnelled = true
		case slices.Contains(packets.Protocols, word):
			w.Protocols = append(w.Protocols, word)
		case word == "port" && i+1 < len(words):
			i++
			port, err := strconv.Atoi(words[i])
			if err != nil || port < 0 || port > 1<<16-1 {
				return w, fmt.Errorf("filter: %s is no port", words[i])
			}
			w.Ports = append(w.Ports, port)
		case isAddress == nil:
			w.Addresses = append(w.Addresses, address.Unmap())
		case len(ends) == 1 && !ends[0].leg.Second.IsValid():
			w.Addresses = append(w.Addresses, ends[0].leg.Address)
		case len(ends) > 0:
			return w, fmt.Errorf("filter: %s has several addresses: name one of them", word)
		default:
			return w, fmt.Errorf("filter: %q is none of icmp, arp, tcp, udp, vxlan, port N, an endpoint or an address", word)
		}
	}
	return w, nil
}
