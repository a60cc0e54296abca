package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// logIn gives an SSH connection to a host, made as the inventory says.
func logIn(t *testing.T, s *Sandbox, host HostInfo) *ssh.Client {
	t.Helper()
	key, err := os.ReadFile(s.Identity())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	known, err := knownhosts.New(s.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(host.Address.String(), fmt.Sprint(host.Port))
	conn, err := s.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   known,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		t.Fatalf("log in to %s: %v", host.Name, err)
	}
	return ssh.NewClient(c, channels, requests)
}

func overSSH(t *testing.T, client *ssh.Client, command string) string {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out, err := session.CombinedOutput(command)
	if err != nil {
		t.Fatalf("over ssh: %s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestHostsAnswerSSH(t *testing.T) {
	s := makeSandbox(t, Options{})
	for _, host := range s.Hosts() {
		client := logIn(t, s, host)
		if got := overSSH(t, client, "hostname"); got != host.Name {
			t.Errorf("hostname: %q, want %s", got, host.Name)
		}
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := session.RequestPty("xterm", 24, 80, nil); err != nil {
			t.Errorf("a terminal on %s: %v", host.Name, err)
		}
		if out, err := session.CombinedOutput("tty"); err != nil || !bytes.HasPrefix(out, []byte("/dev/pts/")) {
			t.Errorf("tty on %s: %q, %v", host.Name, out, err)
		}
		if session, err = client.NewSession(); err != nil {
			t.Fatal(err)
		}
		if err := session.RequestSubsystem("sftp"); err != nil {
			t.Errorf("SFTP on %s: %v", host.Name, err)
		}
		session.Close()
	}
}

func TestHostsAnswerTheSystemsSSH(t *testing.T) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %v", six), func(t *testing.T) {
			s := makeSandbox(t, Options{IPv6: six, Device: "ens3", MTU: 1400})
			if _, err := exec.LookPath("ssh"); err != nil {
				t.Skip("no ssh here")
			}
			for _, host := range s.Hosts() {
				var stdout, stderr bytes.Buffer
				argv := []string{"ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + s.KnownHosts(), "-i", s.Identity(), "root@" + host.Address.String(), "cat /sys/class/net/ens3/mtu"}
				code, err := s.Exec(t.Context(), argv, nil, &stdout, &stderr)
				if err != nil || code != 0 || stdout.String() != "1400\n" {
					t.Errorf("%q: exit %d, %v, %q, %q; want the MTU 1400", argv, code, err, stdout.String(), stderr.String())
				}
			}
		})
	}
}

func TestHostsAreDistinct(t *testing.T) {
	s := makeSandbox(t, Options{})
	machineID, _ := os.ReadFile("/etc/machine-id")
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{"hostname " + name: "the machine", "machine id " + strings.TrimSpace(string(machineID)): "the machine", "boot id " + boot: "the machine"}
	for _, host := range s.Hosts() {
		client := logIn(t, s, host)
		for what, command := range map[string]string{
			"hostname":   "hostname",
			"machine id": "cat /etc/machine-id",
			"boot id":    "cat /proc/sys/kernel/random/boot_id",
			"host key":   "cat /etc/ssh/ssh_host_ed25519_key.pub",
		} {
			value := what + " " + overSSH(t, client, command)
			if other, found := seen[value]; found {
				t.Errorf("%s has the %s, as %s has", host.Name, value, other)
			}
			seen[value] = host.Name
		}
	}
}

func TestHostsReachEachOther(t *testing.T) {
	s := makeSandbox(t, Options{})
	for _, pair := range [][2]string{{"host1", "host2"}, {"host2", "host1"}} {
		got := onHost(t, s, pair[0], "exec 3<>/dev/tcp/"+pair[1]+"/22; read -r banner <&3; echo $banner")
		if !strings.HasPrefix(got, "SSH-2.0-") {
			t.Errorf("%s from %s: %q, want sshd's banner", pair[1], pair[0], got)
		}
	}
}

// A bridge takes its ports' addresses unless told otherwise.
func TestControllerKeepsItsLinkAddress(t *testing.T) {
	s := makeSandbox(t, Options{Hosts: 3})
	address := func() string {
		var out bytes.Buffer
		if code, err := s.Exec(t.Context(), []string{"ip", "-o", "link", "show", underlayBridge}, nil, &out, &out); err != nil || code != 0 {
			t.Fatalf("ip link: exit %d, %v: %s", code, err, out.String())
		}
		_, after, _ := strings.Cut(out.String(), "link/ether ")
		return strings.Fields(after)[0]
	}
	before := address()
	for _, host := range s.Hosts() {
		if err := s.Reboot(t.Context(), host.Name); err != nil {
			t.Fatal(err)
		}
		if after := address(); after != before {
			t.Errorf("after a reboot of %s: %s, want %s as before", host.Name, after, before)
		}
	}
}

func TestMulticastPasses(t *testing.T) {
	s := makeSandbox(t, Options{Hosts: 3})
	group := &net.UDPAddr{IP: net.IPv4(239, 0, 0, 7), Port: 4790}
	// in runs f in a host's network, with its underlay device.
	in := func(host string, f func(device *net.Interface) error) {
		t.Helper()
		init, _ := s.running(host)
		namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", init.PID))
		if err != nil {
			t.Fatal(err)
		}
		defer namespace.Close()
		err = onThread(func() error {
			if err := enterNetwork(namespace); err != nil {
				return err
			}
			device, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			return f(device)
		})
		if err != nil {
			t.Fatalf("on %s: %v", host, err)
		}
	}
	listeners := map[string]*net.UDPConn{}
	for _, host := range []string{"host2", "host3"} {
		in(host, func(device *net.Interface) error {
			conn, err := net.ListenMulticastUDP("udp4", device, group)
			if err == nil {
				listeners[host] = conn
				t.Cleanup(func() { conn.Close() })
			}
			return err
		})
	}
	in("host1", func(device *net.Interface) error {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{})
		if err != nil {
			return err
		}
		defer conn.Close()
		sender := ipv4.NewPacketConn(conn)
		if err := sender.SetMulticastInterface(device); err != nil {
			return err
		}
		_, err = sender.WriteTo([]byte("hello"), nil, group)
		return err
	})
	for host, conn := range listeners {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		buffer := make([]byte, 100)
		n, from, err := conn.ReadFromUDP(buffer)
		if err != nil || string(buffer[:n]) != "hello" || from.IP.String() != "10.83.0.1" {
			t.Errorf("%s got %q from %v, %v; want hello from 10.83.0.1", host, buffer[:n], from, err)
		}
	}
}

func TestNothingIsBeyondTheUnderlay(t *testing.T) {
	s := makeSandbox(t, Options{})
	const script = "ip -4 route show default; ip -6 route show default"
	for _, host := range s.Hosts() {
		if got := onHost(t, s, host.Name, script); got != "" {
			t.Errorf("default route on %s: %s", host.Name, got)
		}
	}
	var out bytes.Buffer
	if code, err := s.Exec(t.Context(), []string{"sh", "-c", script}, nil, &out, &out); err != nil || code != 0 || out.Len() > 0 {
		t.Errorf("default route of the controller: %s (exit %d, %v)", out.String(), code, err)
	}
}

func TestWritesStayInTheHost(t *testing.T) {
	s := makeSandbox(t, Options{})
	const name = "sandbox-test-wrote-this"
	before, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	dirs := []string{"/", "/etc", "/usr", "/var/lib", "/root", "/tmp", "/run", "/dev", "/dev/shm", "/home", "/opt"}
	var script strings.Builder
	for _, dir := range dirs {
		fmt.Fprintf(&script, "touch %s/%s\n", dir, name)
	}
	script.WriteString("echo gone > /etc/passwd; echo 1 > /proc/sys/net/ipv4/ip_forward; hostname changed; mount -t tmpfs none /mnt")
	onHost(t, s, "host1", script.String())
	for _, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s reached the machine's %s", name, dir)
		}
		if got := onHost(t, s, "host2", "ls -A "+dir); strings.Contains(got, name) {
			t.Errorf("%s reached the other host's %s", name, dir)
		}
	}
	after, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Errorf("/etc/passwd of the machine changed:\n%s", diff)
	}
	if got := onHost(t, s, "host2", "cat /proc/sys/net/ipv4/ip_forward; hostname"); got != "0\nhost2" {
		t.Errorf("ip_forward and hostname of the other host: %q", got)
	}
}

func TestMachineIsHidden(t *testing.T) {
	s := makeSandbox(t, Options{})
	if got, want := onHost(t, s, "host1", "ls -A /root; ls -A /home"), ".bashrc\n.profile\n.ssh"; got != want {
		t.Errorf("the homes: %q, want %q", got, want)
	}
	if got := onHost(t, s, "host1", "ls -A "+filepath.Dir(s.dir)+" 2>/dev/null || true"); got != "" {
		t.Errorf("the sandboxes' directory: %q, want nothing", got)
	}
	if got := onHost(t, s, "host1", "ls /etc/ssh; cat /etc/resolv.conf"); got != "ssh_host_ed25519_key\nssh_host_ed25519_key.pub\nsshd_config" {
		t.Errorf("/etc/ssh and resolv.conf: %q", got)
	}
	if got := onHost(t, s, "host1", "cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l"); len(strings.Fields(got)) != 2 || len(strings.Fields(got)[1]) > 1 {
		t.Errorf("init and the number of processes: %q, want fewer than 10", got)
	}
}

func TestMachinesClockAndModulesAreSafe(t *testing.T) {
	s := makeSandbox(t, Options{Hosts: 1})
	const command = "grep CapBnd /proc/self/status"
	for how, text := range map[string]string{
		"HostExec": onHost(t, s, "host1", command),
		"ssh":      overSSH(t, logIn(t, s, s.Hosts()[0]), command),
	} {
		var bounding uint64
		if _, err := fmt.Sscanf(text, "CapBnd: %x", &bounding); err != nil {
			t.Fatalf("%s: %q: %v", how, text, err)
		}
		if forbidden := uint64(1<<unix.CAP_SYS_TIME | 1<<unix.CAP_SYS_MODULE); bounding == 0 || bounding&forbidden != 0 {
			t.Errorf("%s: bounding set %x, want one without %x", how, bounding, forbidden)
		}
	}
}

func TestLocalStateIsHiddenOutsideTmp(t *testing.T) {
	needRoot(t)
	state, err := os.MkdirTemp("/var/lib", "vxorch-sandbox-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(state) }) // Down removed it
	s := makeSandbox(t, Options{State: state})
	if got := onHost(t, s, "host1", "ls -A "+state); got != "" {
		t.Errorf("the sandboxes' directory: %q, want nothing", got)
	}
	if err := s.Reboot(t.Context(), "host1"); err != nil {
		t.Error(err)
	}
}

func TestRebootKeepsTheDiskAlone(t *testing.T) {
	s := makeSandbox(t, Options{})
	const identity = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; ip -o addr show eth0 scope global; ip -o link show eth0 | grep -o 'link/.*'"
	const boot = "cat /proc/sys/kernel/random/boot_id"
	const traces = "set +e; ls /root/kept /etc/kept /run/lost /tmp/lost /dev/shm/lost 2>/dev/null; ip -br link show type bridge; ip netns; pgrep -x sleep"
	before, bootBefore := onHost(t, s, "host1", identity), onHost(t, s, "host1", boot)
	onHost(t, s, "host1", "touch /root/kept /etc/kept /run/lost /tmp/lost /dev/shm/lost; ip link add br0 type bridge; ip netns add container0; (sleep 1000 >/dev/null 2>&1 &)")
	if got := onHost(t, s, "host1", traces); !strings.Contains(got, "br0") || !strings.Contains(got, "container0") {
		t.Fatalf("traces before the reboot: %q", got)
	}
	if err := s.Reboot(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, onHost(t, s, "host1", identity)); diff != "" {
		t.Errorf("who host1 is (-before +after):\n%s", diff)
	}
	if after := onHost(t, s, "host1", boot); after == bootBefore {
		t.Errorf("boot id: still %s", after)
	}
	if got := onHost(t, s, "host1", traces+"; true"); got != "/etc/kept\n/root/kept" {
		t.Errorf("traces after the reboot: %q, want /etc/kept and /root/kept", got)
	}
	overSSH(t, logIn(t, s, s.Hosts()[0]), "true")
	if got := onHost(t, s, "host2", "exec 3<>/dev/tcp/host1/22; read -r banner <&3; echo $banner"); !strings.HasPrefix(got, "SSH-2.0-") {
		t.Errorf("host1 from host2: %q, want sshd's banner", got)
	}
}

func TestStoppedHostIsUnreachable(t *testing.T) {
	s := makeSandbox(t, Options{})
	client := logIn(t, s, s.Hosts()[0])
	if err := s.Stop(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Dial(ctx, "tcp", "10.83.0.1:22"); err == nil {
		t.Error("Dial: no error, want none to answer")
	}
	if _, err := s.HostExec(t.Context(), "host1", []string{"true"}, nil, nil, nil); err == nil || err.Error() != "host1 is stopped" {
		t.Errorf("HostExec: %v, want host1 is stopped", err)
	}
	overSSH(t, logIn(t, s, s.Hosts()[1]), "true")
	status, err := s.Status()
	if err != nil {
		t.Fatal(err)
	}
	if status.Stale || status.Hosts[0].PID != 0 || status.Hosts[1].PID == 0 {
		t.Errorf("Status = %+v, want host2 alone running", status)
	}
	client.Close() // it cannot know yet
	if err := s.Stop(t.Context(), "host1"); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if err := s.Reboot(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	overSSH(t, logIn(t, s, s.Hosts()[0]), "true")
	if err := s.Stop(t.Context(), "host9"); err == nil || !strings.Contains(err.Error(), "only host1, host2") {
		t.Errorf("Stop(host9): %v, want the hosts that there are", err)
	}
}

// What vxorch builds works in the hosts.
func TestOverlayBetweenHosts(t *testing.T) {
	s := makeSandbox(t, Options{})
	for i, host := range s.Hosts() {
		onHost(t, s, host.Name, fmt.Sprintf(`
			ip link add vxlan0 type vxlan id 100 dstport 4789 group 239.0.0.1 dev eth0
			ip link add lu-br0 type bridge
			ip link set vxlan0 master lu-br0 up
			ip addr add 192.168.100.%d/24 dev lu-br0
			ip link set lu-br0 up
			ip netns add container0
			ip link add veth0 type veth peer name eth0 netns container0
			ip link set veth0 master lu-br0 up
			ip -n container0 addr add 192.168.100.1%d/24 dev eth0
			ip -n container0 link set eth0 up`, i+1, i+1))
	}
	got := onHost(t, s, "host1", "ip netns exec container0 bash -c 'exec 3<>/dev/tcp/192.168.100.2/22; read -r banner <&3; echo $banner'")
	if !strings.HasPrefix(got, "SSH-2.0-") {
		t.Errorf("host2 from a container on host1: %q, want sshd's banner", got)
	}
}

func TestExec(t *testing.T) {
	s := makeSandbox(t, Options{Hosts: 1})
	run := map[string]func(argv []string, stdin string, out *bytes.Buffer) (int, error){
		"Exec": func(argv []string, stdin string, out *bytes.Buffer) (int, error) {
			return s.Exec(t.Context(), argv, strings.NewReader(stdin), out, out)
		},
		"HostExec": func(argv []string, stdin string, out *bytes.Buffer) (int, error) {
			return s.HostExec(t.Context(), "host1", argv, strings.NewReader(stdin), out, out)
		},
	}
	for how, run := range run {
		for _, c := range []struct {
			name, script, stdin, out string
			code                     int
		}{
			{"output", "echo out; echo err >&2", "", "out\nerr\n", 0},
			{"input", "cat", "given", "given", 0},
			{"exit code", "exit 42", "", "", 42},
			{"signal", "kill -9 $$", "", "", 137},
		} {
			t.Run(how+" "+c.name, func(t *testing.T) {
				var out bytes.Buffer
				code, err := run([]string{"sh", "-c", c.script}, c.stdin, &out)
				if err != nil || code != c.code || out.String() != c.out {
					t.Errorf("%s(%q) = %d, %v and %q; want %d and %q", how, c.script, code, err, out.String(), c.code, c.out)
				}
			})
		}
		t.Run(how+" of nothing", func(t *testing.T) {
			var out bytes.Buffer
			if _, err := run([]string{"no-such-command"}, "", &out); err == nil || !strings.Contains(err.Error(), "no-such-command") {
				t.Errorf("%s: %v, want an error that names the command", how, err)
			}
			if _, err := run(nil, "", &out); err == nil {
				t.Errorf("%s without a command: no error", how)
			}
		})
	}
}

func TestExecIsTheCallersButForTheNetwork(t *testing.T) {
	s := makeSandbox(t, Options{Hosts: 1})
	t.Setenv("SANDBOX_TEST", "handed on")
	before := ownNamespaces(t)
	var out bytes.Buffer
	if _, err := s.Exec(t.Context(), []string{"sh", "-c", "echo $SANDBOX_TEST; pwd; for n in mnt pid uts; do readlink /proc/self/ns/$n; done; readlink /proc/self/ns/net"}, nil, &out, &out); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := "handed on\n" + dir + "\n"
	for _, kind := range []string{"mnt", "pid", "uts"} {
		want += before[kind] + "\n"
	}
	if diff := cmp.Diff(want, out.String()[:min(len(want), out.Len())]); diff != "" {
		t.Errorf("what the command sees (-want +got):\n%s", diff)
	}
	if strings.Contains(out.String(), before["net"]) {
		t.Error("the command is in the caller's network")
	}
	onHost(t, s, "host1", "true")
	if diff := cmp.Diff(before, ownNamespaces(t)); diff != "" {
		t.Errorf("the caller's own namespaces (-before +after):\n%s", diff)
	}
}

func ownNamespaces(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, kind := range []string{"mnt", "net", "pid", "uts", "ipc"} {
		target, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		found[kind] = target
	}
	return found
}

func TestExecEndsWithItsContext(t *testing.T) {
	s := makeSandbox(t, Options{Hosts: 1})
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	ended := make(chan int)
	go func() {
		code, _ := s.Exec(ctx, []string{"sh", "-c", "trap 'exit 7' TERM; echo began; while :; do sleep 0.01; done"}, nil, notify(began), nil)
		ended <- code
	}()
	<-began
	cancel()
	if code := <-ended; code != 7 {
		t.Errorf("exit code %d, want 7: from the command's own handling of SIGTERM", code)
	}
}

// notify closes itself at the first write.
type notify chan struct{}

func (n notify) Write(p []byte) (int, error) {
	close(n)
	return len(p), nil
}

func TestOrphansAreTakenIn(t *testing.T) {
	s := makeSandbox(t, Options{Hosts: 1})
	onHost(t, s, "host1", "for i in 1 2 3 4 5; do (setsid true &) ; done")
	for range 1000 {
		if onHost(t, s, "host1", "ps -eo stat= | grep -c Z || true") == "0" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("zombies stay")
}
