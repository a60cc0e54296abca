package inventory

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// What a name may hold at most.
const (
	maxLabName    = 20
	maxLinkName   = 15 // IFNAMSIZ less the closing zero
	maxName       = 64 // of a host or a workload as written
	maxNetnsName  = 100
	maxDomainName = 100 // it is part of file names
)

// DeriveMAC gives a locally administered unicast MAC, 02:…, in lower case with
// colons. The same parts always give the same one.
func DeriveMAC(parts ...string) string {
	sum := digest(parts)
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

// shortName joins parts of ASCII with '-'. Where the 15 characters that the
// kernel has for a link's name do not suffice, a hash of the parts takes the
// place of the end.
func shortName(parts ...string) string {
	return shorten(maxLinkName, parts...)
}

func shorten(limit int, parts ...string) string {
	const hashLength = 6
	name := strings.Join(parts, "-")
	if len(name) <= limit {
		return name
	}
	return strings.TrimRight(name[:limit-hashLength-1], "-._") + "-" + hashText(parts)[:hashLength]
}

// linkName names the outer end of a veth pair: the workload's beginning for
// people, and 40 bits of hash, so that labs and legs do not meet. Each attempt
// gives another.
func linkName(lab, workload, inner string, attempt int) string {
	start := strings.TrimRight(workload[:min(len(workload), 6)], "-._")
	return start + "-" + hashText([]string{lab, workload, inner, fmt.Sprint(attempt)})[:8]
}

func hashText(parts []string) string {
	sum := digest(parts)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))
}

// digest hashes each part with its length, so that ("ab", "c") is not ("a", "bc").
func digest(parts []string) [sha256.Size]byte {
	var b []byte
	for _, part := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}

func labNameProblem(name string) string {
	if len(name) > maxLabName {
		return fmt.Sprintf("is %d characters long, more than %d", len(name), maxLabName)
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') {
			return fmt.Sprintf("must not have %q", r)
		}
	}
	if name == "" || name[0] == '-' || name[len(name)-1] == '-' {
		return "must begin and end with a letter or a digit"
	}
	return ""
}

// name reads a name that the kernel, libvirt or QEMU gets as it is.
func (p *parser) name(n *yaml.Node, key string, longest int, hint string) string {
	name, ok := p.str(n, key)
	if !ok {
		return ""
	}
	if problem := nameProblem(name, longest); problem != "" {
		p.errorf(n, "%s %q %s", key, name, problem).Hint = hint
	}
	return name
}

// nameProblem says what is wrong with a name that vxorch gives to something. It
// ends up in file names, kernel objects and command lines.
func nameProblem(name string, limit int) string {
	for _, r := range name {
		if !isAlphanumeric(r) && !strings.ContainsRune("-._", r) {
			return fmt.Sprintf("must not have %q", r)
		}
	}
	if name == "" || !isAlphanumeric(rune(name[0])) {
		return "must begin with a letter or a digit"
	}
	if len(name) > limit {
		return fmt.Sprintf("is %d characters long, more than %d", len(name), limit)
	}
	return ""
}

// linkProblem is nameProblem for a link to be made.
func linkProblem(name string) string {
	if slices.Contains([]string{"lo", "all", "default"}, name) {
		return "is one that the kernel keeps for itself" // sysctl net.ipv4.conf has all and default beside the links
	}
	return nameProblem(name, maxLinkName)
}

// deviceProblem holds the name of a link that others made against what the
// kernel takes (dev_valid_name).
func deviceProblem(name string) string {
	for _, r := range name {
		if r <= ' ' || r > '~' || strings.ContainsRune("/:%", r) {
			return fmt.Sprintf("must not have %q", r)
		}
	}
	if name == "." || name == ".." {
		return "is no interface's name"
	}
	if len(name) > maxLinkName {
		return fmt.Sprintf("is %d characters long, more than %d", len(name), maxLinkName)
	}
	return ""
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// suggest is a hint at the known name that is nearest to an unknown one, or at
// all of them if none is near and they are few. It stops after a hundred
// problems: to search ten thousand hosts for each of thousands takes long.
func (p *parser) suggest(name string, known []string) string {
	if len(p.errs) > 100 {
		return ""
	}
	best, bestDistance := "", min(3, 1+len(name)/2)
	for _, candidate := range known {
		if d := distance(name, candidate, bestDistance); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) > 0 && len(known) <= 12:
		return "known: " + strings.Join(known, ", ")
	}
	return ""
}

// distance is the number of bytes to insert, remove or replace to make b of a;
// some number ≥ limit as soon as that is certain.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, least := row[0], i+1
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
			least = min(least, cost)
		}
		if least >= limit {
			return limit
		}
	}
	return row[len(b)]
}
