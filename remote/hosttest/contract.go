package hosttest

import (
	"net/netip"
	"testing"

	"vxorch/remote/hostapi"
)

// Env is a machine for Contract. Nothing of a lab may stand on it.
type Env struct {
	Host     hostapi.Host                      // Contract closes it
	Reopen   func(t *testing.T) hostapi.Host   // a second session on the same machine; Contract closes it
	Underlay string                            // device on the machine, of mtu 1500 or more, up
	Local    netip.Addr                        // its address
	Plant    func(t *testing.T, name string)   // makes a link without a mark, of any kind
	PlantNet func(t *testing.T, netns string)  // makes a named namespace without a mark
	Stall    func(t *testing.T, object string) // has the next step on that object wait until its context has ended, then go on; nil: the host cannot

	// For ContractFRR only: has the machine run an FRR of its own, and gives what shows
	// the configuration of its bgpd, which has an instance of that number; 0: none.
	BGP func(t *testing.T, asn int) (shown func() string)

	// For ContractVirt only.
	Image []byte // qcow2, at most a few MiB; a guest that does nothing will do
	Virsh Virsh
}

// Virsh is what others do to a machine's libvirt.
type Virsh struct {
	Plant    func(t *testing.T, name string) // defines a network and a domain without marks
	Stop     func(t *testing.T, name string) // ends a domain at once
	Undefine func(t *testing.T, name string) // of a domain, which goes on if it runs
	Redefine func(t *testing.T, name string) // has a domain defined with other memory; if it runs it goes on with what it has
	Disown   func(t *testing.T, name string) // takes the mark out of the definition that is kept of a domain
}

// Contract checks that a Host does what hostapi says. open gives a machine of
// its own to each test and takes it away by t.Cleanup; names differ between the
// tests of one process and between processes, should machines share anything.
// The host's answers count, not its words.
func Contract(t *testing.T, open func(t *testing.T) Env) {
	for i, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"observe of an empty machine", (*bench).observeEmpty},
		{"what is created is seen as wanted and marked", (*bench).create},
		{"applying again changes nothing", (*bench).applyAgain},
		{"changes are made in place", (*bench).change},
		{"what cannot be changed is rebuilt", (*bench).rebuild},
		{"removal in reverse leaves nothing", (*bench).remove},
		{"removing a namespace or a bridge spares the rest", (*bench).removeUnder},
		{"a flood list is kept as told", (*bench).floodList},
		{"remote endpoints are kept as told", (*bench).remotes},
		{"the first failure ends a batch", (*bench).partial},
		{"a taken VNI is busy", (*bench).busy},
		{"nonsense is refused", (*bench).nonsense},
		{"foreign objects are left alone", (*bench).foreign},
		{"the lock keeps others out until Close", (*bench).lock},
		{"apply needs the lock", (*bench).notLocked},
		{"two labs side by side", (*bench).twoLabs},
		{"probe between containers of a bridge", (*bench).probe},
		{"probe over IPv6", (*bench).probeIPv6},
		{"probe of an address that nobody has", (*bench).probeNobody},
		{"probe that cannot be sent", (*bench).probeUnsent},
		{"temporary address", (*bench).temporaryAddress},
		{"a cancelled context begins no step", (*bench).canceledBefore},
		{"a cancel stops between steps", (*bench).canceledWithin},
		{"routes that overlap a subnet", (*bench).overlaps},
		{"a check reads and changes nothing", (*bench).checkFacts},
		{"a try's datagrams are heard", (*bench).datagrams},
		{"a ping is seen at the links that it passes", (*bench).capture},
		{"an inspection tells of ports and entries", (*bench).inspect},
		{"a closed host answers no more", (*bench).closed},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(newBench(t, open(t), i))
		})
	}
}
