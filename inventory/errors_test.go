package inventory

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// head is a lab on two hosts, to which a case adds what it is about from line 5
// on. It has no networks, so those tests say `networks` that need one.
const head = `lab: try
hosts:
  a: {address: 192.0.2.11}
  b: {address: 192.0.2.12}
`

// checked is a lab with two networks, to which cases add checks from line 10 on.
const checked = head + `networks: {blue: {subnet: 10.1.0.0/24}, red: {vni: 2, subnet: 10.2.0.0/24}}
containers:
  one: {host: a, network: blue}
  red: {host: b, network: red}
  web: {hosts: all, network: blue}
`

// problems renders what Parse has to say: position, message, and hint if any.
func problems(t *testing.T, text string) []string {
	t.Helper()
	lab, err := Parse("f", []byte(text))
	if err == nil {
		return nil
	}
	if lab != nil {
		t.Error("Parse gave a lab beside an error")
	}
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatalf("Parse gave %T, want Errors", err)
	}
	var lines []string
	for _, e := range errs {
		line := strings.TrimPrefix(e.Error(), "f:")
		if e.Hint != "" {
			line += " | " + e.Hint
		}
		lines = append(lines, line)
	}
	return lines
}

func TestProblemsAreReportedAtTheirPosition(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		// The file as YAML.
		"empty file": {
			"",
			[]string{
				"1:1: the inventory is empty | vxorch init HOST… writes one to start from",
			}},
		"comments only": {
			"# nothing\n",
			[]string{
				"1:1: the inventory is empty | vxorch init HOST… writes one to start from",
			}},
		"empty document": {
			"---\n",
			[]string{
				"2:1: the inventory is empty | vxorch init HOST… writes one to start from",
			}},
		"not a mapping": {
			"- lab\n",
			[]string{
				"1:1: the inventory must be a mapping, not a list",
			}},
		"several documents": {
			head + "---\nlab: two\n",
			[]string{
				"5:1: a second YAML document begins here | keep one lab in one file",
			}},
		"syntax of the scanner": {
			"lab: try\nhosts: a: b\n",
			[]string{
				"2:1: YAML: mapping values are not allowed in this context",
			}},
		"syntax of the parser": {
			"lab: try\nhosts:\n  a: {address: x}\n b: {}\n",
			[]string{
				"4:1: YAML: did not find expected key",
			}},
		"syntax in the first line": {
			"lab: @x\n",
			[]string{
				"1:1: YAML: found character that cannot start any token",
			}},
		"syntax after the first document": {
			"{lab: try}}\n",
			[]string{
				"1:1: YAML: did not find expected <document start>",
			}},
		"indented by a tab": {
			"lab: try\nhosts:\n\ta: {}\n",
			[]string{
				"3:1: YAML: found character that cannot start any token | indent with spaces, not with tabs",
			}},
		"unknown anchor": {
			"lab: try\nhosts: {a: *nowhere}\n",
			[]string{
				"2:12: YAML: unknown anchor | &NAME must come before *NAME; text that begins with * needs quotes",
			}},
		"alias inside of itself": {
			"lab: try\nhosts: &h {a: {address: x, ssh: *h}}\n",
			[]string{
				"2:33: this alias stands inside of what it stands for",
			}},
		"not UTF-8": {
			"lab: try\nhosts: {\"ä\": \xff}\n",
			[]string{
				"2:14: this is not UTF-8 text",
			}},
		"control character": {
			"lab: try\n\x1b[31m: x\n",
			[]string{
				"2:1: the control character U+001B is not allowed",
			}},
		"duplicate key": {
			head + "lab: again\n",
			[]string{
				`5:1: key "lab" is already given (f:1:1) | keep one of them`,
			}},
		"merge key": {
			head + "ssh: {<<: {user: root}}\n",
			[]string{
				"5:7: merge keys are not supported | give an alias as the whole value, or write the keys out",
			}},
		"problem behind an alias is told once": {
			"lab: try\nhosts:\n  a: {address: 192.0.2.11, ssh: &s {port: 0}}\n  b: {address: 192.0.2.12, ssh: *s}\n",
			[]string{
				"3:43: port 0 is outside 1…65535",
			}},
		// The whole.
		"nothing required is there": {
			"ssh: {}\n",
			[]string{
				"1:1: hosts is missing | list the machines: `hosts: {NAME: {address: ADDRESS}}`",
				"1:1: lab is missing | name the lab: `lab: NAME`",
			}},
		"unknown keys near and far": {
			head + "network: {}\nzzz: 1\n",
			[]string{
				`5:1: unknown key "network" in the inventory | did you mean "networks"?`,
				`6:1: unknown key "zzz" in the inventory | known: lab, ssh, hosts, networks, evpn, containers, images, vms, checks`,
			}},
		"checks is a mapping": {
			head + "checks: {from: cn-a-1}\n",
			[]string{
				"5:9: checks must be a list, not a mapping",
			}},
		"checks of nobody": {
			checked + "checks:\n  - {from: n, to: m}\n  - {from: web, to: on}\n  - {to: one}\n  - one\n",
			[]string{
				`11:12: there is no container or VM "n" | known: one, red, web-a-1, web-b-1`,
				`11:19: there is no container or VM "m" | known: one, red, web-a-1, web-b-1`,
				`12:12: there is no container or VM "web" | it makes several: name one of them, as in "web-a-1"`,
				`12:21: there is no container or VM "on" | did you mean "one"?`,
				"13:5: this check has no from | name a workload: `from: NAME`",
				`14:5: a check must be a mapping, not "one"`,
			}},
		"checks that make no sense": {
			checked + "checks:\n  - {from: one, to: one}\n  - {from: one, to: red}\n  - {from: one, to: web-a-1, expect: slow, tcp: 70000, max_rtt: 5}\n" +
				"  - {from: one, to: red, expect: unreachable, max_rtt: 2s, loss: 1}\n",
			[]string{
				`11:21: this check is from "one" to itself | name another workload`,
				"12:5: container \"one\" and container \"red\" share no network, so one cannot reach the other | write `expect: unreachable`, or give them a network in common",
				`13:38: expect "slow" is unknown | reachable (the default) or unreachable`,
				`13:49: tcp 70000 is outside 1…65535`,
				`13:65: max_rtt "5" is not a time | write it as in 500us or 5ms`,
				`14:47: max_rtt of what is to be unreachable | take one of them out`,
				`14:56: max_rtt 2s is not above 0 and up to 1s`,
				`14:60: unknown key "loss" in a check | known: from, to, expect, tcp, max_rtt, min_throughput`,
			}},
		"throughputs that make no sense": {
			checked + "checks:\n  - {from: one, to: red, expect: unreachable, min_throughput: 100}\n  - {from: one, to: web-a-1, max_rtt: 5ms, min_throughput: 1Mbit/s}\n" +
				"  - {from: one, to: web-b-1, min_throughput: 12 MB/s}\n  - {from: one, to: web-b-1, min_throughput: 1.2.3Gbit/s, tcp: 80}\n  - {from: web-a-1, to: one, min_throughput: 0.1bit/s}\n" +
				"  - {from: web-a-1, to: one, min_throughput: 101Gbit/s, tcp: 80}\n",
			[]string{
				`11:47: min_throughput of what is to be unreachable | take one of them out`,
				`11:63: min_throughput 100 has no unit | write 100Mbit/s, if that is what is meant`,
				`12:44: max_rtt and min_throughput in one check | a connection that is filled has other times: write two checks`,
				`13:46: min_throughput "12 MB/s" is not a number with a unit | write it as in 100Mbit/s or 1.5Gbit/s`,
				`14:46: min_throughput "1.2.3Gbit/s" is not a number with a unit | write it as in 100Mbit/s or 1.5Gbit/s`,
				`15:46: min_throughput 0.1bit/s is outside 1kbit/s…100Gbit/s`,
				`16:46: min_throughput 101Gbit/s is outside 1kbit/s…100Gbit/s`,
			}},
		"a check twice": {
			checked + "checks:\n  - {from: one, to: web-a-1, tcp: 80}\n  - {from: one, to: web-a-1}\n  - {from: one, to: web-a-1, tcp: 80, expect: unreachable}\n",
			[]string{
				"13:5: this check is already there (f:11:5) | keep one of them",
			}},
		"a VM over TCP": {
			head + machines + "containers: {c: {host: a}}\nchecks: [{from: c, to: v, tcp: 22}, {from: v, to: c, min_throughput: 1Gbit/s}]\n",
			[]string{
				`8:27: VM "v" takes no part in an exchange over TCP | only containers do: take tcp out`,
				`8:54: VM "v" takes no part in an exchange over TCP | only containers do: take min_throughput out`,
			}},
		"lab name with a capital": {
			"lab: Try\nhosts: {a: {address: x}}\n",
			[]string{
				`1:6: lab name "Try" must not have 'T' | a lab's name has small letters, digits and '-', at most 20`,
			}},
		"lab name too long": {
			"lab: abcdefghijklmnopqrstu\nhosts: {a: {address: x}}\n",
			[]string{
				`1:6: lab name "abcdefghijklmnopqrstu" is 21 characters long, more than 20 | a lab's name has small letters, digits and '-', at most 20`,
			}},
		"lab name ends with a dash": {
			"lab: try-\nhosts: {a: {address: x}}\n",
			[]string{
				`1:6: lab name "try-" must begin and end with a letter or a digit | a lab's name has small letters, digits and '-', at most 20`,
			}},
		"lab is a list": {
			"lab: [try]\nhosts: {a: {address: x}}\n",
			[]string{
				"1:6: lab must be text, not a list",
			}},
		"lab is a bool": {
			"lab: true\nhosts: {a: {address: x}}\n",
			[]string{
				`1:6: lab must be text, not true | put it into quotes: "true"`,
			}},
		"lab is nothing": {
			"lab:\nhosts: {a: {address: x}}\n",
			[]string{
				"1:5: lab is empty: it must be text",
			}},
		// Hosts.
		"no hosts": {
			"lab: try\nhosts: {}\n",
			[]string{
				"2:8: hosts is empty | a lab needs a machine: `hosts: {NAME: {address: ADDRESS}}`",
			}},
		"hosts as a list": {
			"lab: try\nhosts: [a, b]\n",
			[]string{
				"2:8: hosts must be a mapping, not a list",
			}},
		"host without an address": {
			"lab: try\nhosts:\n  a:\n",
			[]string{
				"3:3: address of host \"a\" is missing | say where SSH reaches it: `address: ADDRESS`",
			}},
		"host is text": {
			"lab: try\nhosts: {a: 192.0.2.1}\n",
			[]string{
				`2:12: host "a" must be a mapping, not "192.0.2.1"`,
			}},
		"unknown key of a host": {
			"lab: try\nhosts: {a: {adress: x, address: y}}\n",
			[]string{
				`2:13: unknown key "adress" in host "a" | did you mean "address"?`,
			}},
		"bad host name": {
			"lab: try\nhosts: {a/b: {address: x}, -c: {address: y}}\n",
			[]string{
				`2:9: host name "a/b" must not have '/' | host names have letters, digits, '.', '-' and '_'`,
				`2:28: host name "-c" must begin with a letter or a digit | host names have letters, digits, '.', '-' and '_'`,
			}},
		"address with a port": {
			"lab: try\nhosts: {a: {address: \"x:22\"}}\n",
			[]string{
				"2:22: address \"x:22\" has a port in it | write `address: x` and `ssh: {port: 22}`",
			}},
		"address with a user": {
			"lab: try\nhosts: {a: {address: root@x}}\n",
			[]string{
				"2:22: address \"root@x\" has a user in it | write `address: x` and `ssh: {user: USER}`",
			}},
		"address in brackets": {
			"lab: try\nhosts: {a: {address: \"[2001:db8::1]:22\"}}\n",
			[]string{
				"2:22: address \"[2001:db8::1]:22\" is in brackets | write an IPv6 address without brackets; a port goes into `ssh: {port: PORT}`",
			}},
		"address out of range": {
			"lab: try\nhosts: {a: {address: 192.0.2.300}}\n",
			[]string{
				`2:22: address "192.0.2.300" is not an IPv4 address`,
			}},
		"address with a space": {
			"lab: try\nhosts: {a: {address: x y}}\n",
			[]string{
				`2:22: address "x y" must not have ' '`,
			}},
		"address is multicast": {
			"lab: try\nhosts: {a: {address: 239.0.0.1}}\n",
			[]string{
				"2:22: address 239.0.0.1 is no machine's",
			}},
		"range without a range of addresses": {
			"lab: try\nhosts: {\"a[1-3]\": {address: 192.0.2.1}}\n",
			[]string{
				`2:29: address "192.0.2.1" would be that of 3 hosts | give it a range as long as the name's, as in 192.0.2.[101-116]`,
			}},
		"ranges of unequal length": {
			"lab: try\nhosts: {\"a[1-3]\": {address: \"192.0.2.[1-4]\"}}\n",
			[]string{
				`2:29: address "192.0.2.[1-4]" is a range of 4, but there are 3 hosts | make both ranges equally long`,
			}},
		"unequal ranges in an address": {
			"lab: try\nhosts: {\"a[1-3]\": {address: \"10.[1-3].0.[1-4]\"}}\n",
			[]string{
				`2:29: address "10.[1-3].0.[1-4]" has ranges of 3 and 4: they must be equally long`,
			}},
		"range backwards": {
			"lab: try\nhosts: {\"a[3-1]\": {address: x}}\n",
			[]string{
				`2:9: host "a[3-1]" has [3-1], which ends before it begins`,
			}},
		"range of unequal digits": {
			"lab: try\nhosts: {\"a[01-100]\": {address: x}}\n",
			[]string{
				`2:9: host "a[01-100]" has [01-100], whose ends differ in their number of digits`,
			}},
		"range of letters": {
			"lab: try\nhosts: {\"a[a-c]\": {address: x}}\n",
			[]string{
				`2:9: host "a[a-c]" has [a-c], which is no range such as [1-16] or [01-16]`,
			}},
		"range left open": {
			"lab: try\nhosts: {\"a[1-\": {address: x}, \"b]\": {address: y}}\n",
			[]string{
				`2:9: host "a[1-" has a [ without a ]`,
				`2:31: host "b]" has a ] without a [`,
			}},
		"range beyond the bound": {
			"lab: try\nhosts: {\"a[1-10001]\": {address: x}}\n",
			[]string{
				`2:9: host "a[1-10001]" has [1-10001], which is more than 10000 hosts`,
			}},
		"ranges beyond the bound together": {
			"lab: try\nhosts: {\"a[1-9999]\": {address: \"a[1-9999]\"}, \"b[1-2]\": {address: \"b[1-2]\"}}\n",
			[]string{
				"1:1: subnet 192.168.100.0/24 is too small: 9999 hosts need an address each | give the network a larger one, as in `subnet: 10.100.0.0/16`",
				`2:46: with host "b[1-2]" there are more than 10000 hosts`,
			}},
		"range meets a host": {
			"lab: try\nhosts: {a2: {address: x}, \"a[1-3]\": {address: \"192.0.2.[1-3]\"}}\n",
			[]string{
				`2:27: host "a2" is already given (f:2:9) | keep one of them`,
			}},
		"range runs out of the octet": {
			"lab: try\nhosts: {\"a[1-2]\": {address: \"192.0.2.[255-256]\"}}\n",
			[]string{
				`2:29: address "192.0.2.256" is not an IPv4 address`,
			}},
		"one machine twice": {
			"lab: try\nhosts:\n  a: {address: X.example}\n  b: {address: x.example., ssh: {port: 22}}\n  c: {address: x.example, ssh: {port: 23}}\n",
			[]string{
				`4:16: address x.example. is already that of host "a" (f:3:16) | every host is a machine of its own: give it its own address or ssh port`,
			}},
		"one IPv6 machine twice": {
			"lab: try\nhosts: {a: {address: \"2001:db8::1\"}, b: {address: \"2001:db8:0::1\"}}\n",
			[]string{
				`2:51: address 2001:db8:0::1 is already that of host "a" (f:2:22) | every host is a machine of its own: give it its own address or ssh port`,
			}},
		"underlay": {
			"lab: try\nhosts: {a: {address: x, underlay: a/b}, b: {address: y, underlay: averyveryverylong}, c: {address: z, underlay: ..}}\n",
			[]string{
				`2:35: underlay "a/b" must not have '/'`,
				`2:67: underlay "averyveryverylong" is 17 characters long, more than 15`,
				`2:113: underlay ".." is no interface's name`,
			}},
		"vtep is no tunnel end": {
			"lab: try\nhosts: {a: {address: x, vtep: 127.0.0.1}, b: {address: y, vtep: host}, c: {address: z, vtep: \"::ffff:192.0.2.1\"}}\n",
			[]string{
				"2:31: vtep 127.0.0.1 cannot be a tunnel's end | give an address of the underlay device",
				`2:65: vtep "host" is not an IP address`,
				`2:94: vtep "::ffff:192.0.2.1" is an IPv4-mapped IPv6 address | write 192.0.2.1`,
			}},
		"vteps twice and of two families": {
			"lab: try\nhosts:\n  a: {address: x, vtep: 192.0.2.1}\n  b: {address: y, vtep: 192.0.2.1}\n  c: {address: z, vtep: \"2001:db8::1\"}\n",
			[]string{
				`4:25: vtep 192.0.2.1 is already that of host "a" (f:3:25) | give each host its own`,
				`5:25: vtep 2001:db8::1 is IPv6, but that of host "a" is IPv4 (f:3:25) | all ends of a tunnel need the same IP version`,
			}},
		"ranges of both kinds": {
			"lab: try\nhosts: {\"a[1-2]\": {address: \"x[1-2]\", vtep: 192.0.2.1}}\n",
			[]string{
				`2:45: vtep "192.0.2.1" would be that of 2 hosts | give it a range as long as the name's, as in 192.0.2.[101-116]`,
			}},
		// Ssh.
		"ssh with words that are none": {
			head + "ssh: {jump: x, sudo: true, transport: ssh, persist: ever}\n",
			[]string{
				`5:22: sudo must be text, not true | put it into quotes: "true"`,
				`5:39: transport "ssh" is unknown | known: native, openssh`,
				"5:53: persist \"ever\" is not a time up to 24h | write it as 60s or 10m, or `off`",
			}},
		"a pinned key for the system's ssh": {
			"lab: try\nssh: {host_key: \"SHA256:uNiVztksCsDhcc0u9e8BrmXOdfbf5fG9hP7hPYHHXlw\"}\nhosts:\n  a: {address: x, ssh: {transport: openssh}}\n  b: {address: y}\n",
			[]string{"4:24: host_key does not go with `transport: openssh` | ssh cannot be given a fingerprint: name a known_hosts file that has the key"}},
		"ssh with a way to become root that is none": {
			head + "ssh: {sudo: asks}\n",
			[]string{`5:13: sudo "asks" is unknown | did you mean "ask"?`}},
		"ssh with jump hosts that are none": {
			head + "ssh: {jump: [a:0, \"@b\", \"e,none\", \"[x]\", \"ssh://d\", \"-e\"]}\n",
			func() []string {
				problems := []string{"5:13: jump has `none` beside others | `none` stands alone"}
				for _, problem := range []string{
					`14: jump "a:0" has no port between 1 and 65535 at its end`, `19: jump "@b" has no login name before the @`,
					`35: jump "[x]" has no IP address in its brackets`, `42: jump "ssh://d" is an address of the web`, `53: jump "-e" must begin with a letter or a digit`,
				} {
					problems = append(problems, "5:"+problem+" | write a jump host as [user@]host[:port], an IPv6 address in brackets; `none` for none")
				}
				return problems
			}()},
		"ssh of wrong types": {
			head + "ssh: {user: [root], port: ssh, identity: {}, known_hosts: [true], host_key: 1, accept_new: yes}\n",
			[]string{
				"5:13: user must be text, not a list",
				`5:27: port must be a whole number, not "ssh"`,
				"5:42: identity must be text, not a mapping",
				`5:60: known_hosts must be text, not true | put it into quotes: "true"`,
				`5:77: host_key "1" is not a SHA256:… fingerprint | on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`,
				`5:92: accept_new must be true or false, not "yes"`,
			}},
		"ssh out of bounds": {
			head + "ssh: {user: \"a b\", port: 70000, host_key: \"MD5:00\", prot: 1}\n",
			[]string{
				`5:13: user "a b" is no login name`,
				"5:26: port 70000 is outside 1…65535",
				`5:43: host_key "MD5:00" is not a SHA256:… fingerprint | on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`,
				`5:53: unknown key "prot" in ssh | did you mean "port"?`,
			}},
		"port in octal": {
			head + "ssh: {port: 022}\n",
			[]string{
				"5:13: port must be a plain decimal number, not 022",
			}},
		"port is quoted": {
			head + "ssh: {port: \"22\"}\n",
			[]string{
				`5:13: port must be a whole number, not "22"`,
			}},
		// Networks.
		"no networks": {
			head + "networks: {}\n",
			[]string{
				"5:11: networks is empty | leave it out altogether for one network with every default",
			}},
		"networks as a list": {
			head + "networks: [n]\n",
			[]string{
				"5:11: networks must be a mapping, not a list",
			}},
		"network name": {
			head + "networks:\n  averyveryverylong:\n  a b: {subnet: 10.0.0.0/24}\n  default:\n",
			[]string{
				`6:3: network name "averyveryverylong" is 17 characters long, more than 15 | it is the bridge's name too: at most 15 letters, digits, '.', '-' and '_'`,
				`7:3: network name "a b" must not have ' ' | it is the bridge's name too: at most 15 letters, digits, '.', '-' and '_'`,
				`8:3: network name "default" is one that the kernel keeps for itself | it is the bridge's name too: at most 15 letters, digits, '.', '-' and '_'`,
			}},
		"vni outside": {
			head + "networks: {n: {vni: 0}, m: {vni: 16777216}, o: {vni: 99999999999999999999}}\n",
			[]string{
				"5:21: vni 0 is outside 1…16777215",
				"5:34: vni 16777216 is outside 1…16777215",
				`5:54: vni must be a whole number, not "99999999999999999999"`,
			}},
		"vni twice": {
			head + "networks:\n  n: {vni: 7}\n  m: {vni: 7, port: 4790}\n",
			[]string{
				`7:12: vni 7 is already used by network "n" (f:6:12) | give one of them another vni`,
			}},
		"port outside": {
			head + "networks: {n: {port: 0}}\n",
			[]string{
				"5:22: port 0 is outside 1…65535",
			}},
		"vxlan name": {
			head + "networks: {n: {vxlan: averyveryverylong}, m: {vxlan: \"a/b\"}, o: {vxlan: 5}, q: {vxlan: [x]}}\n",
			[]string{
				`5:23: vxlan "averyveryverylong" is 17 characters long, more than 15 | a link's name has at most 15 letters, digits, '.', '-' and '_'`,
				`5:54: vxlan "a/b" must not have '/' | a link's name has at most 15 letters, digits, '.', '-' and '_'`,
				"5:88: vxlan must be text, not a list",
			}},
		"vxlan names clash": {
			head + "networks:\n  n: {vxlan: v}\n  m: {vxlan: v}\n",
			[]string{
				`7:14: link name "v" of the VTEP of network "m" is already that of the VTEP of network "n" (f:6:14) | the names of a host's links must differ: give one of them another`,
			}},
		"vxlan has a bridge's name": {
			head + "networks:\n  n: {vxlan: m}\n  m:\n",
			[]string{
				`6:14: link name "m" of the VTEP of network "n" is already that of network "m" (f:7:3) | the names of a host's links must differ: give one of them another`,
			}},
		"default vxlan is taken": {
			head + "networks:\n  n: {vni: 5, vxlan: vx100}\n  m:\n",
			[]string{
				`7:3: link name "vx100" of the VTEP of network "m" is already that of the VTEP of network "n" (f:6:22) | the names of a host's links must differ: give one of them another`,
			}},
		"bridge has the underlay's name": {
			"lab: try\nhosts: {a: {address: x, underlay: eth0}}\nnetworks: {eth0: {}}\n",
			[]string{
				`3:12: link name "eth0" of network "eth0" is already that of the underlay of host "a" (f:2:9) | the names of a host's links must differ: give one of them another`,
			}},
		"evpn without a network": {
			head + "networks: {n: {flood: static}}\nevpn: {asn: 64512}\n",
			[]string{
				"6:1: evpn is given, and no network has flood: evpn | give one `flood: evpn`, or leave evpn out",
			}},
		"evpn with a group": {
			head + "networks: {n: {flood: evpn, group: 239.0.0.1}}\n",
			[]string{"5:29: flood: evpn has no group | leave group out, or take flood: multicast"},
		},
		"evpn of wrong numbers and names": {
			head + "networks: {n: {flood: evpn}}\nevpn: {asn: 23456, port: 0, reflectors: [a, c, a], clients: [10.0.0.1/24, 'fd00::/8', x], holdtime: 3}\n",
			[]string{
				"6:13: asn 23456 is reserved | take one for private use: 64512 to 65534",
				"6:26: port 0 is outside 1…65535",
				`6:45: there is no host "c" | known: a, b`,
				`6:48: host "a" is already a reflector`,
				"6:62: clients 10.0.0.1/24 is the address of a machine in it | write 10.0.0.0/24",
				"6:75: clients fd00::/8 is IPv6 | sessions are between the tunnel ends, which are IPv4",
				`6:87: clients "x" is not an address with a prefix length | write it as in 10.0.0.0/16`,
				`6:91: unknown key "holdtime" in evpn | known: reflectors, asn, port, password_file, clients, frr`,
			}},
		"evpn on IPv6 tunnel ends": {
			"lab: try\nhosts: {a: {address: x, vtep: 'fd00::1'}}\nnetworks: {n: {flood: evpn}}\n",
			[]string{
				`3:23: flood: evpn needs an IPv4 underlay, and the vtep of host "a" is fd00::1 (f:2:9) | FRR knows no IPv6 tunnel ends: give the hosts IPv4 ones, or take flood: static`,
			}},
		"group without multicast": {
			head + "networks: {n: {flood: unicast, group: 239.0.0.1}}\n",
			[]string{"5:32: flood: unicast has no group | leave group out, or take flood: multicast"},
		},
		"flood unknown": {
			head + "networks: {n: {flood: broadcast}, m: {flood: multicas}}\n",
			[]string{
				`5:23: flood "broadcast" is unknown | known: multicast, unicast, static, evpn, auto`,
				`5:46: flood "multicas" is unknown | did you mean "multicast"?`,
			}},
		"group": {
			head + "networks: {n: {group: 192.0.2.1}, m: {group: \"ff02::1%eth0\"}, o: {group: x}, p: {group: \"::ffff:239.0.0.1\"}}\n",
			[]string{
				"5:23: group 192.0.2.1 is not a multicast address | choose one such as 239.0.0.1, or ff05::1:1 for an IPv6 underlay",
				`5:46: group "ff02::1%eth0" has a zone | write ff02::1`,
				`5:74: group "x" is not an IP address`,
				`5:89: group "::ffff:239.0.0.1" is an IPv4-mapped IPv6 address | write 239.0.0.1`,
			}},
		"group of the other family": {
			"lab: try\nhosts: {a: {address: x, vtep: 192.0.2.1}}\nnetworks: {n: {group: \"ff05::1\"}}\n",
			[]string{
				"3:23: group ff05::1 is IPv6, but the hosts' vtep addresses are IPv4 | the group belongs to the underlay: use its IP version",
			}},
		"subnet": {
			head + "networks: {n: {subnet: 10.0.0.0}, m: {subnet: 10.0.0.1/24}, o: {subnet: 10.0.0.0/31}, p: {subnet: 10.0.0.0/4}}\n",
			[]string{
				`5:24: subnet "10.0.0.0" is not an address with a prefix length | write it as in 192.168.100.0/24`,
				"5:47: subnet 10.0.0.1/24 is the address of a machine in it | write 10.0.0.0/24",
				"5:73: subnet 10.0.0.0/31 is too small for two machines",
				"5:99: subnet 10.0.0.0/4 is too large",
			}},
		"subnet is not for machines": {
			head + "networks: {n: {subnet: 239.0.0.0/24}, m: {subnet: 127.0.0.0/24}, o: {subnet: \"fe80::/64\"}, p: {subnet: \"::ffff:0:0/96\"}, q: {subnet: \"ff05::/64\"}}\n",
			[]string{
				"5:24: subnet 239.0.0.0/24 has no addresses for machines",
				"5:51: subnet 127.0.0.0/24 has no addresses for machines",
				"5:78: subnet fe80::/64 is link-local: every interface has addresses of it already",
				"5:104: subnet ::ffff:0.0.0.0/96 is IPv4-mapped: write the IPv4 subnet",
				"5:134: subnet ff05::/64 has no addresses for machines",
			}},
		"subnets overlap": {
			head + "networks:\n  n: {subnet: 10.0.0.0/16}\n  m: {subnet: 10.0.1.0/24}\n",
			[]string{
				`7:15: subnet 10.0.1.0/24 overlaps with 10.0.0.0/16 of network "n" (f:6:15) | give one of them another subnet`,
			}},
		"subnet holds a host": {
			head + "networks: {n: {subnet: 192.0.2.0/24}}\n",
			[]string{
				`5:24: subnet 192.0.2.0/24 holds address 192.0.2.11 of host "a" (f:3:3) | the lab would take over the way to that host: choose another subnet`,
			}},
		"subnet holds a vtep": {
			"lab: try\nhosts: {a: {address: x, vtep: 10.0.0.1}}\nnetworks: {n: {subnet: 10.0.0.0/24}}\n",
			[]string{
				`3:24: subnet 10.0.0.0/24 holds vtep 10.0.0.1 of host "a" (f:2:9) | the lab would take over the way to that host: choose another subnet`,
			}},
		"subnet too small for the hosts": {
			"lab: try\nhosts: {\"a[1-3]\": {address: \"192.0.2.[1-3]\"}}\nnetworks: {n: {subnet: 10.0.0.0/30}}\n",
			[]string{
				"3:24: subnet 10.0.0.0/30 is too small: 3 hosts need an address each | give the network a larger one, as in `subnet: 10.100.0.0/16`",
			}},
		"subnet too small for a displaced vtep": {
			head + "networks: {n: {subnet: 10.0.0.0/30}}\ncontainers:\n  c: {host: a, address: 10.0.0.1}\n",
			[]string{
				`5:24: subnet 10.0.0.0/30 of network "n" has no address left for the VTEP of host "a" | choose a larger subnet`,
			}},
		"subnet too small for the workloads": {
			head + "networks: {n: {subnet: 10.0.0.0/29}}\ncontainers:\n  c: {hosts: all, count: 3}\n",
			[]string{
				`7:3: subnet 10.0.0.0/29 of network "n" has no address left for container "c-b-2" | choose a larger subnet`,
			}},
		"mtu": {
			head + "networks: {n: {mtu: 67}, m: {mtu: 65536}, o: {mtu: big}, p: {mtu: 1279, subnet: \"fd00::/64\"}, q: {mtu: [1]}}\n",
			[]string{
				"5:21: mtu 67 is outside 68…65535",
				"5:35: mtu 65536 is outside 68…65535",
				`5:52: mtu "big" is neither auto nor a number of bytes`,
				"5:67: mtu 1279 is below 1280, which IPv6 needs",
				"5:104: mtu must be a whole number, not a list",
			}},
		"vteps": {
			head + "networks: {n: {vteps: {a: 192.168.100.1, c: 192.168.100.2, b: 10.0.0.1}}}\n",
			[]string{
				`5:42: there is no host "c" | known: a, b`,
				`5:63: vtep address 10.0.0.1 is outside subnet 192.168.100.0/24 of network "n" | choose one between 192.168.100.1 and 192.168.100.254`,
			}},
		"vteps as a list": {
			head + "networks: {n: {vteps: [192.168.100.1]}}\n",
			[]string{
				`5:23: vteps of network "n" must be a mapping, not a list`,
			}},
		"vteps twice": {
			head + "networks: {n: {vteps: {a: 192.168.100.1, b: 192.168.100.1/24}}}\n",
			[]string{
				`5:45: address 192.168.100.1 is already that of the VTEP of host "a" (f:5:27) | choose another, or leave it to auto`,
			}},
		// Containers.
		"containers as a list": {
			head + "containers: [c]\n",
			[]string{
				"5:13: containers must be a mapping, not a list",
			}},
		"container is text": {
			head + "containers: {c: a}\n",
			[]string{
				`5:17: container "c" must be a mapping, not "a"`,
			}},
		"netns of many": {
			head + "containers: {c: {hosts: all, count: 2, netns: x}}\n",
			[]string{
				`5:47: netns "x" of container "c-a-2" is already that of container "c-a-1" on host "a" (f:5:47) | give each its own netns, or leave it out`,
				`5:47: netns "x" of container "c-b-2" is already that of container "c-b-1" on host "b" (f:5:47) | give each its own netns, or leave it out`,
			}},
		"container without a host": {
			head + "containers: {c: {}}\n",
			[]string{
				"5:14: container \"c\" has neither host nor hosts | say where it runs: `host: NAME` or `hosts: all`",
			}},
		"host and hosts": {
			head + "containers: {c: {host: a, hosts: all}}\n",
			[]string{
				"5:27: host and hosts are both given (f:5:18) | keep one of them",
			}},
		"host with a count": {
			head + "containers: {c: {host: a, count: 2}}\n",
			[]string{
				"5:27: count goes with hosts, not with host | write `hosts: [a]`",
			}},
		"count": {
			head + "containers: {c: {hosts: all, count: 0}}\n",
			[]string{
				"5:37: count 0 is outside 1…100000",
			}},
		"too many": {
			head + "containers: {c: {hosts: all, count: 50001}}\n",
			[]string{
				`5:14: container "c" would be more than 100000`,
			}},
		"too many together": {
			head + "networks: {n: {subnet: 10.0.0.0/8}}\ncontainers: {c: {hosts: all, count: 50000}, d: {host: a}}\n",
			[]string{
				`6:45: with container "d" the workloads have more than 100000 interfaces`,
			}},
		"unknown host": {
			"lab: try\nhosts: {node01: {address: x}}\ncontainers: {c: {host: node1}, d: {hosts: [node02, elsewhere]}}\n",
			[]string{
				`3:24: there is no host "node1" | did you mean "node01"?`,
				`3:44: there is no host "node02" | did you mean "node01"?`,
				`3:52: there is no host "elsewhere" | known: node01`,
			}},
		"hosts is text, empty, or twice": {
			head + "containers: {c: {hosts: a}, d: {hosts: []}, e: {hosts: [a, a]}}\n",
			[]string{
				`5:25: hosts must be all or a list of hosts, not "a"`,
				"5:40: hosts is empty | write `hosts: all`, or take the container out",
				`5:60: host "a" is already in the list (f:5:57) | for several containers a host there is count`,
			}},
		"unknown network": {
			head + "networks: {lan: {}}\ncontainers: {c: {host: a, network: lam}}\n",
			[]string{
				`6:36: there is no network "lam" | did you mean "lan"?`,
			}},
		"network left open": {
			head + "networks: {m: {}, n: {}}\ncontainers:\n  c: {host: a}\n  d: {host: a, interfaces: [{network: m}, {}]}\n",
			[]string{
				"7:3: container \"c\" does not say in which of the 2 networks it is | write `network: NAME`",
				"8:43: container \"d\" does not say in which of the 2 networks it is | write `network: NAME`",
			}},
		"container name": {
			head + "containers: {a b: {host: a}, _c: {host: a}}\n",
			[]string{
				`5:14: container name "a b" must not have ' ' | workloads' names have letters, digits, '.', '-' and '_'`,
				`5:30: container name "_c" must begin with a letter or a digit | workloads' names have letters, digits, '.', '-' and '_'`,
			}},
		"container names meet": {
			head + "containers: {c-a-1: {host: a}, c: {hosts: all}}\n",
			[]string{
				`5:32: container "c-a-1" is already made by another definition (f:5:14) | rename one of them`,
			}},
		"netns": {
			head + "containers: {c: {host: a, netns: a/b}, d: {host: a, netns: ..}}\n",
			[]string{
				`5:34: netns "a/b" must not have '/' | a namespace's name has letters, digits, '.', '-' and '_'`,
				`5:60: netns ".." must begin with a letter or a digit | a namespace's name has letters, digits, '.', '-' and '_'`,
			}},
		"netns twice on a host": {
			head + "containers:\n  c: {host: a, netns: x}\n  d: {host: a, netns: x}\n  e: {host: b, netns: x}\n",
			[]string{
				`7:23: netns "x" of container "d" is already that of container "c" on host "a" (f:6:23) | give each its own netns, or leave it out`,
			}},
		"netns written and derived": {
			head + "containers:\n  c: {host: a}\n  d: {host: a, netns: try-c}\n",
			[]string{
				`7:23: netns "try-c" of container "d" is already that of container "c" on host "a" (f:6:3) | give each its own netns, or leave it out`,
			}},
		"network beside interfaces": {
			head + "containers: {c: {host: a, network: x, interfaces: [{}]}}\n",
			[]string{
				"5:27: network and interfaces are both given (f:5:39) | put it into the list of interfaces",
			}},
		"interfaces": {
			head + "containers: {c: {host: a, interfaces: {}}, d: {host: a, interfaces: []}, e: {host: a, interfaces: [{}, {}]}, f: {host: a, interfaces: [x]}}\n",
			[]string{
				"5:39: interfaces must be a list, not a mapping",
				"5:69: interfaces is empty | a container needs an interface: `interfaces: [{network: NAME}]`",
				`5:104: container "e" has an interface in network "try-br0" already (f:5:100) | one interface a network`,
				`5:136: an interface must be a mapping, not "x"`,
			}},
		"address for many": {
			head + "containers: {c: {hosts: all, address: 192.168.100.20}, d: {hosts: all, interfaces: [{mac: \"02:00:00:00:00:01\"}]}}\n",
			[]string{
				"5:39: this address would be that of 2 containers | leave it out: each gets a free one",
				"5:91: this mac would be that of 2 containers | leave it out: each gets its own",
			}},
		"address": {
			head + "containers: {c: {host: a, address: x}, d: {host: a, address: 10.0.0.1}, e: {host: a, address: 192.168.100.0}, f: {host: a, address: 192.168.100.255}, g: {host: a, address: 192.168.100.9/16}, h: {host: a, address: \"fd00::1\"}}\n",
			[]string{
				`5:36: address "x" is not an IP address`,
				`5:62: address 10.0.0.1 is outside subnet 192.168.100.0/24 of network "try-br0" | choose one between 192.168.100.1 and 192.168.100.254`,
				"5:95: address 192.168.100.0 is the network address of 192.168.100.0/24",
				"5:133: address 192.168.100.255 is the broadcast address of 192.168.100.0/24",
				`5:173: address 192.168.100.9/16: the prefix length of network "try-br0" is 24 | leave the prefix length out`,
				`5:214: address fd00::1 is outside subnet 192.168.100.0/24 of network "try-br0" | choose one between 192.168.100.1 and 192.168.100.254`,
			}},
		"IPv6 address": {
			head + "networks: {n: {subnet: \"fd00::/64\"}}\ncontainers: {c: {host: a, address: \"fd00::\"}, d: {host: a, address: \"fd00::1%eth0\"}, e: {host: a, address: \"::ffff:192.0.2.1\"}}\n",
			[]string{
				"6:36: address fd00:: is the routers' anycast address of fd00::/64",
				`6:69: address "fd00::1%eth0" has a zone | write fd00::1`,
				`6:108: address "::ffff:192.0.2.1" is an IPv4-mapped IPv6 address | write 192.0.2.1`,
			}},
		"address twice": {
			head + "containers:\n  c: {host: a, address: 192.168.100.20}\n  d: {host: b, address: 192.168.100.20}\n",
			[]string{
				`7:25: address 192.168.100.20 is already that of container "c" (f:6:25) | choose another, or leave it to auto`,
			}},
		"address of an earlier auto": {
			head + "containers:\n  c: {host: a}\n  d: {host: b, address: 192.168.100.11}\n",
			[]string{
				`7:25: address 192.168.100.11 was given to container "c" (f:6:3) by auto | choose another, or write the address of the other down too`,
			}},
		"address of a vtep": {
			head + "networks: {n: {vteps: {a: 192.168.100.20}}}\ncontainers: {c: {host: a, address: 192.168.100.20}}\n",
			[]string{
				`6:36: address 192.168.100.20 is already that of the VTEP of host "a" (f:5:27) | choose another, or leave it to auto`,
			}},
		"mac": {
			head + "containers: {c: {host: a, mac: x}, d: {host: a, mac: \"01:00:00:00:00:01\"}, e: {host: a, mac: \"00:00:00:00:00:00\"}, f: {host: a, mac: \"02:00:00:00:00:00:00:01\"}}\n",
			[]string{
				`5:32: mac "x" is not an Ethernet address | write it as in 02:00:00:00:00:01`,
				"5:54: mac 01:00:00:00:00:01 is a multicast address | the first byte must be even, as in 02:00:00:00:00:01",
				"5:94: mac 00:00:00:00:00:00 is no interface's",
				`5:134: mac "02:00:00:00:00:00:00:01" is not an Ethernet address | write it as in 02:00:00:00:00:01`,
			}},
		"mac twice": {
			head + "containers:\n  c: {host: a, mac: \"02:00:00:00:00:0A\"}\n  d: {host: b, mac: 02-00-00-00-00-0a}\n",
			[]string{
				`7:21: mac 02:00:00:00:00:0a is already that of container "c" (f:6:21) | choose another, or leave it out`,
			}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, problems(t, c.text)); diff != "" {
				t.Errorf("problems of %s (-want +got):\n%s", c.text, diff)
			}
		})
	}
}

func TestProblemsNeverCarryWhatSpoilsATerminal(t *testing.T) {
	text := `lab: "` + strings.Repeat("x", 10000) + `"
hosts: {"a\e[31m": {address: "me@\e[31m"}, "b\n": {address: "x\n:22"}, c: !t%1bt 1}
containers: {c: {host: zzzzzzzzz}, d: {host: "\e[31m", count: 1}}
`
	lines := problems(t, text)
	if len(lines) < 8 {
		t.Errorf("got %d problems, want one for each slip: %q", len(lines), lines)
	}
	for _, line := range lines {
		if strings.ContainsAny(line, "\x1b\n") || len(line) > 1000 {
			t.Errorf("problem %.1000q must not reach a terminal", line)
		}
	}
}
