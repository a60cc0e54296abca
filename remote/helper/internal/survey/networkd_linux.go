package survey

import (
	"cmp"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// networkd is systemd-networkd's configuration; the zero value is this machine's.
type networkd struct{ root string }

// takesOver gives the .network file by which systemd-networkd, where it runs,
// would configure one of links, as systemd.network(5) says: the first file by
// name whose [Match] fits. Of matches only those by name, type and nothing else
// count; any further condition keeps a file out.
func (n networkd) takesOver(links []string) string {
	if _, err := os.Stat(filepath.Join(n.root, "/run/systemd/netif")); err != nil {
		return ""
	}
	var files []string
	seen := map[string]bool{}
	for _, dir := range []string{"/etc/systemd/network", "/run/systemd/network", "/usr/lib/systemd/network"} {
		found, err := filepath.Glob(filepath.Join(n.root, dir, "*.network"))
		if err != nil {
			continue
		}
		for _, f := range found {
			if base := filepath.Base(f); !seen[base] {
				seen[base] = true // one of the same name further on is hidden by it
				files = append(files, f)
			}
		}
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Compare(filepath.Base(a), filepath.Base(b)) })
	for _, link := range links {
		for _, f := range files {
			unit := parseUnit(text(f))
			if !unit.matches(link) {
				continue
			}
			if strings.EqualFold(unit["Link.Unmanaged"], "yes") || unit["Link.Unmanaged"] == "true" {
				break
			}
			return strings.TrimPrefix(f, n.root)
		}
	}
	return ""
}

// unit is a file's settings by "Section.Key".
type unit map[string]string

func parseUnit(content string) unit {
	u := unit{}
	section := ""
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(rest, "]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		name := section + "." + strings.TrimSpace(key)
		u[name] = strings.TrimSpace(u[name] + " " + strings.TrimSpace(value))
	}
	return u
}

func (u unit) matches(link string) bool {
	conditions := 0
	for key, value := range u {
		condition, ok := strings.CutPrefix(key, "Match.")
		if !ok || value == "" {
			continue
		}
		conditions++
		switch condition {
		case "Name":
			if !nameMatches(strings.Fields(value), link) {
				return false
			}
		case "Type": // what the lab makes looks like Ethernet
			if !slices.Contains(strings.Fields(value), "ether") {
				return false
			}
		default:
			return false
		}
	}
	return conditions > 0
}

func nameMatches(patterns []string, link string) bool {
	if len(patterns) > 0 && strings.HasPrefix(patterns[0], "!") {
		patterns[0] = patterns[0][1:]
		return !nameMatches(patterns, link)
	}
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, link)
		return ok && err == nil
	})
}
