package inventory

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestEVPN(t *testing.T) {
	compare := cmpopts.EquateComparable(netip.Prefix{})
	for name, c := range map[string]struct {
		text string
		want *EVPN
	}{
		"no network has it":  {"networks: {n: {}}\n", nil},
		"every default":      {"networks: {n: {flood: evpn}}\n", &EVPN{ASN: 65000, Port: 179, Reflectors: []string{"a", "b"}}},
		"nothing but a name": {"networks: {n: {flood: evpn}}\nevpn:\n", &EVPN{ASN: 65000, Port: 179, Reflectors: []string{"a", "b"}}},
		"an FRR of its own":  {"networks: {n: {flood: evpn}}\nevpn: {frr: own}\n", &EVPN{ASN: 65000, Port: 179, Reflectors: []string{"a", "b"}}},
		"everything": {
			"networks: {n: {flood: evpn}}\nevpn: {asn: 4200000000, port: 1179, reflectors: b, password_file: secret, clients: 10.0.0.0/8, frr: existing}\n",
			&EVPN{ASN: 4200000000, Port: 1179, Reflectors: []string{"b"}, PasswordFile: "secret", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Existing: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, mustParse(t, head+c.text).EVPN, compare); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestAReflectorAlone(t *testing.T) {
	lab := mustParse(t, "lab: try\nhosts: {a: {address: x}}\nnetworks: {n: {flood: evpn}}\n")
	if d := cmp.Diff([]string{"a"}, lab.EVPN.Reflectors); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestThePasswordIsBesideTheInventory(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "f.yaml")
	if err := os.WriteFile(file, []byte(head+"networks: {n: {flood: evpn}}\nevpn: {password_file: bgp/secret}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab, err := Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(folder, "bgp/secret"); lab.EVPN.PasswordFile != want {
		t.Errorf("password file %q, want %q", lab.EVPN.PasswordFile, want)
	}
}
