package prepare

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
)

// evpn is the part of a lab that needs FRR and nothing else.
var evpn = hostapi.PrepareRequest{FRR: true}

func TestMissingFRR(t *testing.T) {
	both := hostapi.PrepareRequest{FRR: true, Libvirt: true}
	libvirt := map[string]bool{"libvirtd": true, "qemu-system-x86_64": true, "qemu-img": true}
	for name, c := range map[string]struct {
		state state
		req   hostapi.PrepareRequest
		want  hostapi.Preparation
	}{
		"there":                   {state{manager: apt, programs: map[string]bool{"zebra": true, "bgpd": true}}, evpn, hostapi.Preparation{}},
		"on Debian":               {state{manager: apt, systemd: true}, evpn, hostapi.Preparation{Manager: apt, Packages: []string{"frr"}}},
		"half of it":              {state{manager: apt, programs: map[string]bool{"zebra": true}}, evpn, hostapi.Preparation{Manager: apt, Packages: []string{"frr"}}},
		"beside VMs":              {state{manager: apt, programs: libvirt, answering: true}, both, hostapi.Preparation{Manager: apt, Packages: []string{"frr"}}},
		"libvirt does not matter": {state{manager: apt, programs: map[string]bool{"zebra": true, "bgpd": true}, systemd: true}, evpn, hostapi.Preparation{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.state.missing(c.req)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
	if _, err := (state{system: "Other 1"}).missing(evpn); !errors.Is(err, hostapi.ErrUnsupported) || !strings.Contains(err.Error(), "Other 1 lacks zebra, bgpd") {
		t.Errorf("%v, want ErrUnsupported with what is missing", err)
	}
}

func TestFRRIsLookedForWhereLabsStartIt(t *testing.T) {
	for _, c := range []struct {
		place string
		lacks int // packages
	}{{"/usr/lib/frr", 0}, {"/usr/libexec/frr", 0}, {"/usr/sbin", 1}, {"/usr/libexec", 1}} {
		m := newMachine(t, debian, "/usr/bin/apt-get", c.place+"/zebra", c.place+"/bgpd")
		if p, err := m.Missing(t.Context(), evpn); err != nil || len(p.Packages) != c.lacks {
			t.Errorf("daemons in %s: %+v, %v; want %d packages missing", c.place, p, err, c.lacks)
		}
	}
}

func TestTheServiceOfFRRsPackageIsStopped(t *testing.T) {
	const systemctl, script, updateRC = "systemctl disable --now frr.service", "/etc/init.d/frr", "update-rc.d frr disable"
	for name, c := range map[string]struct {
		there []string
		stops []string
		err   error // of the last one
		note  string
	}{
		"by systemd":          {[]string{"/run/systemd/system/x"}, []string{systemctl}, nil, "stopped and disabled"},
		"by its script":       {[]string{script, "/usr/sbin/update-rc.d"}, []string{script + " stop", updateRC}, nil, "stopped and disabled"},
		"by its script alone": {[]string{script}, []string{script + " stop"}, nil, "is stopped; keep the host from starting it again"},
		"it stays enabled":    {[]string{script, "/usr/sbin/update-rc.d"}, []string{script + " stop", updateRC}, errors.New("no links"), "is stopped, and could not be disabled: no links"},
		"nothing starts it":   {nil, nil, nil, ""},
		"it does not stop":    {[]string{"/run/systemd/system/x"}, []string{systemctl}, errors.New("no bus"), "could not be stopped: no bus"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, debian, append(c.there, "/usr/bin/apt-get")...)
			m.run = func(_ context.Context, argv ...string) error {
				m.ran = append(m.ran, strings.Join(argv, " "))
				if argv[len(argv)-1] == "frr" {
					m.put("/usr/lib/frr/zebra", "/usr/lib/frr/bgpd")
				}
				if len(c.stops) > 0 && m.ran[len(m.ran)-1] == c.stops[len(c.stops)-1] {
					return c.err
				}
				return nil
			}
			done, err := m.Prepare(t.Context(), evpn)
			if err != nil || cmp.Diff([]string{"frr"}, done.Packages) != "" || len(done.Units)+len(done.Daemons) > 0 {
				t.Errorf("%+v, %v; want the package installed and nothing started", done, err)
			}
			if d := cmp.Diff(append([]string{}, c.stops...), m.ran[2:]); d != "" { // after update and install
				t.Errorf("ran -want +got:\n%s", d)
			}
			if notes := strings.Join(done.Notes, "; "); !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
		})
	}
}

func TestTheServiceOfFRRsPackageIsStoppedWhateverBecomesOfPrepare(t *testing.T) {
	unpack := []string{"/usr/lib/frr/zebra", "/usr/lib/frr/bgpd"}
	for name, c := range map[string]struct {
		there   []string
		brings  []string
		install error
		stops   bool
	}{
		"canceled":                     {nil, unpack, nil, true},
		"it was not configured":        {nil, unpack, errors.New("half-configured"), true},
		"nothing came":                 {nil, nil, errors.New("no space"), false},
		"nothing came to half of it":   {unpack[:1], nil, errors.New("no space"), false},
		"it came without its programs": {nil, nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, debian, append(c.there, "/usr/bin/apt-get", "/run/systemd/system/x")...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stopped := false
			m.run = func(ctx context.Context, argv ...string) error {
				switch {
				case argv[0] == "systemctl":
					stopped = ctx.Err() == nil
				case argv[len(argv)-1] == "frr":
					m.put(c.brings...)
					cancel()
					return c.install
				}
				return nil
			}
			done, err := m.Prepare(ctx, evpn)
			if stopped != c.stops {
				t.Errorf("stopped: %t, want %t; %+v, %v", stopped, c.stops, done, err)
			}
		})
	}
}
