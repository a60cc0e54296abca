package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/kdomanski/iso9660"

	"vxorch/inventory"
)

// Seed writes a VM's NoCloud seed, an ISO 9660 image with the label cidata from
// which the guest learns its name and addresses. The same VM always gives the
// same bytes, whatever the machine and the time.
//
// Two kinds of guests read it, each another part:
//
//   - cloud-init takes the addresses from network-config (version 2, by MAC) when
//     the guest first boots, and keeps them.
//   - CirrOS knows no network-config. It runs user-data if that begins with #!,
//     before its login prompt, and once only; so the script leaves itself behind
//     to be run at each boot. cloud-init runs such a script too (as a #cloud-config
//     it could not be for both), late, when all addresses are there and nothing
//     is left for it to do.
//
// meta-data is JSON, for CirrOS reads nothing else, and JSON is YAML.
func Seed(lab *inventory.Lab, vm inventory.VM) ([]byte, error) {
	metadata, err := json.Marshal(map[string]string{"instance-id": lab.Name + "-" + vm.Name, "local-hostname": hostname(vm.Name)})
	if err != nil {
		return nil, err
	}
	network, err := networkConfig(lab, vm)
	if err != nil {
		return nil, err
	}
	return writeISO([]isoFile{
		{"meta-data", append(metadata, '\n')},
		{"network-config", network},
		{"user-data", userData(lab, vm)},
	})
}

// hostname makes a name of DNS's kind (RFC 1123 §2.1) of a VM's: one label.
func hostname(name string) string {
	label := strings.NewReplacer(".", "-", "_", "-").Replace(name)
	return strings.TrimRight(label[:min(len(label), 63)], "-")
}

// networkConfig is cloud-init's, version 2.
func networkConfig(lab *inventory.Lab, vm inventory.VM) ([]byte, error) {
	type match struct {
		MAC string `json:"macaddress"`
	}
	type ethernet struct {
		Match     match          `json:"match"`
		DHCP4     bool           `json:"dhcp4"`
		DHCP6     bool           `json:"dhcp6"`
		Addresses []netip.Prefix `json:"addresses"`
	}
	ethernets := map[string]ethernet{}
	for _, i := range vm.Interfaces {
		ethernets[i.Inner] = ethernet{Match: match{i.MAC}, Addresses: lab.Network(i.Network).Prefixes(i)}
	}
	text, err := json.Marshal(map[string]any{"version": 2, "ethernets": ethernets})
	return append(text, '\n'), err
}

// userData needs a POSIX shell and an ip as busybox has it.
func userData(lab *inventory.Lab, vm inventory.VM) []byte {
	var b bytes.Buffer
	b.WriteString(`#!/bin/sh
# Gives this VM its addresses, where nothing else has done so.
address() { # MAC ADDRESS/LENGTH
  for device in /sys/class/net/*; do
    [ "$(cat "$device/address" 2>/dev/null)" = "$1" ] || continue
    name=${device##*/}
    ip link set "$name" up
    ip addr show dev "$name" | grep -qF " $2 " || ip addr add "$2" dev "$name"
    return
  done
  echo "no network device has the MAC $1" >&2
}
`)
	for _, i := range vm.Interfaces {
		for _, prefix := range lab.Network(i.Network).Prefixes(i) {
			fmt.Fprintf(&b, "address %s %s\n", i.MAC, prefix)
		}
	}
	b.WriteString(`
# CirrOS runs user-data at the first boot only.
again=/etc/rc3.d/S96-vxorch
if [ -d /etc/cirros ] && [ -d /etc/rc3.d ] && [ "$0" != "$again" ]; then
  cp "$0" "$again" && chmod 755 "$again"
fi
exit 0
`)
	return b.Bytes()
}

type isoFile struct {
	name string
	data []byte
}

// writeISO writes files into the root of an ISO 9660 image.
func writeISO(files []isoFile) (image []byte, err error) {
	w, err := iso9660.NewWriter()
	if err != nil {
		return nil, fmt.Errorf("write a seed: %w", err)
	}
	defer func() { err = errors.Join(err, w.Cleanup()) }()
	for _, f := range files {
		if err := w.AddFile(bytes.NewReader(f.data), f.name); err != nil {
			return nil, fmt.Errorf("write a seed: %w", err)
		}
	}
	var b bytes.Buffer
	if err := w.WriteTo(&b, "cidata"); err != nil {
		return nil, fmt.Errorf("write a seed: %w", err)
	}
	image = b.Bytes()
	if err := timeless(image); err != nil {
		return nil, err
	}
	return image, nil
}

// timeless replaces what the library takes from the machine and the clock. Fields
// of the primary volume descriptor, ECMA-119 §8.4.
func timeless(image []byte) error {
	const sector, first = 2048, 16
	if len(image) < (first+1)*sector || !bytes.Equal(image[first*sector:first*sector+6], []byte("\x01CD001")) {
		return errors.New("write a seed: the image has no primary volume descriptor")
	}
	volume := image[first*sector : (first+1)*sector]
	copy(volume[8:40], fmt.Sprintf("%-32s", "LINUX")) // system identifier
	for _, at := range []int{813, 830, 864} {         // created, modified, effective
		copy(volume[at:at+17], "1980010100000000\x00") // in UTC
	}
	return nil
}
