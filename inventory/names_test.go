package inventory

import (
	"fmt"
	"net"
	"testing"
)

func TestDerivedMACsAreLocalUnicastAndTellPartsApart(t *testing.T) {
	if got, want := DeriveMAC("lu", "bridge", "lu-br0", "host1"), "02:38:9e:aa:6f:e2"; got != want {
		t.Errorf("DeriveMAC is %s, want %s: a change of it replaces every link of every lab", got, want)
	}
	if a, b := DeriveMAC("ab", "c"), DeriveMAC("a", "bc"); a == b {
		t.Errorf("DeriveMAC of (ab, c) and of (a, bc) is %s", a)
	}
	mac, err := net.ParseMAC(DeriveMAC("x"))
	if err != nil || mac[0] != 2 {
		t.Errorf("DeriveMAC gave %v, %v, want 02:…", mac, err)
	}
}

func TestShortNamesFitTheKernelAndStayApart(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  string
	}{
		{[]string{"lu", "br0"}, "lu-br0"},
		{[]string{"exactly-15", "char"}, "exactly-15-char"},
	} {
		if got := shortName(c.parts...); got != c.want {
			t.Errorf("shortName(%q) = %q, want %q", c.parts, got, c.want)
		}
	}
	seen := map[string]string{}
	for i := range 1000 {
		part := fmt.Sprintf("a-very-long-name-%d", i)
		name := shortName(part, "br0")
		if len(name) > 15 {
			t.Fatalf("shortName(%q) = %q, longer than 15", part, name)
		}
		if seen[name] != "" {
			t.Fatalf("shortName gives %q for %q and for %q", name, part, seen[name])
		}
		seen[name] = part
	}
}

func TestLinkNamesDifferBetweenLabsAndAttempts(t *testing.T) {
	seen := map[string]bool{}
	for _, lab := range []string{"one", "two"} {
		for _, workload := range []string{"c", "container-with-a-long-name-1", "container-with-a-long-name-2"} {
			for _, inner := range []string{"eth0", "eth1"} {
				for attempt := range 2 {
					name := linkName(lab, workload, inner, attempt)
					if seen[name] || linkProblem(name) != "" {
						t.Errorf("linkName(%q, %q, %q, %d) = %q: taken, or %s", lab, workload, inner, attempt, name, linkProblem(name))
					}
					seen[name] = true
				}
			}
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b  string
		limit int
		want  int
	}{
		{"", "", 3, 0}, {"flood", "flood", 3, 0}, {"flod", "flood", 3, 1}, {"folod", "flood", 3, 2},
		{"adress", "address", 3, 1}, {"kitten", "sitting", 9, 3}, {"kitten", "sitting", 3, 3}, {"a", "abcdef", 3, 3}, {"", "ab", 3, 2},
	} {
		if got := distance(c.a, c.b, c.limit); got != c.want {
			t.Errorf("distance(%q, %q, %d) = %d, want %d", c.a, c.b, c.limit, got, c.want)
		}
	}
}
