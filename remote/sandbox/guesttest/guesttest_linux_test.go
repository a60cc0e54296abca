package guesttest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kdomanski/iso9660"

	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// guest is a running guest and its serial console.
type guest struct {
	t      *testing.T
	input  io.Writer
	output chan []byte
	text   []byte // not yet awaited
}

// answered is a network whose DHCP answers, made by the emulator.
var answered = []string{"-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,host_mtu=1450"}

// boot starts the guest in the emulator and ends it with the test.
func boot(t *testing.T, args ...string) *guest {
	t.Helper()
	emulator, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.Command(emulator, append([]string{
		"-accel", "tcg", "-m", "128", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-drive", "if=virtio,format=qcow2,snapshot=on,file=" + Image(t),
	}, args...)...)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, input: input, output: make(chan []byte)}
	over := make(chan struct{})
	t.Cleanup(func() {
		close(over)
		cmd.Process.Kill()
		cmd.Wait()
	})
	go func() {
		defer close(g.output)
		for {
			chunk := make([]byte, 4096)
			n, err := output.Read(chunk)
			if err != nil {
				return
			}
			select {
			case g.output <- chunk[:n]:
			case <-over:
				return
			}
		}
	}()
	return g
}

// await waits until the guest has written text and gives what came before it.
func (g *guest) await(text string) string {
	g.t.Helper()
	const patience = 90 * time.Second
	timeout := time.After(patience)
	for {
		if before, after, found := bytes.Cut(g.text, []byte(text)); found {
			g.text = after
			return string(before)
		}
		tail := func() []byte { return g.text[max(0, len(g.text)-1000):] }
		select {
		case chunk, open := <-g.output:
			if !open {
				g.t.Fatalf("the guest ended before it wrote %q, after %q", text, tail())
			}
			g.text = append(g.text, chunk...)
		case <-timeout:
			g.t.Fatalf("the guest did not write %q within %v, but %q", text, patience, tail())
		}
	}
}

func (g *guest) send(line string) {
	g.t.Helper()
	if _, err := io.WriteString(g.input, line+"\r"); err != nil {
		g.t.Fatal(err)
	}
}

// logIn answers the prompts up to the shell's.
func (g *guest) logIn() {
	g.t.Helper()
	g.await(" login: ")
	g.send(User)
	g.await("Password: ")
	g.send(Password)
	g.await("$ ")
}

// run gives what a command writes. The markers are some that the echo, which
// wraps, does not have.
func (g *guest) run(command string) string {
	g.t.Helper()
	g.send("echo be''gin; " + command + "; echo en''d=$?=")
	g.await("begin\r\n")
	out := g.await("end=0=")
	return strings.TrimSpace(strings.ReplaceAll(out, "\r", ""))
}

// seed writes a NoCloud seed of that label.
func seed(t *testing.T, label, metaData, userData string) string {
	t.Helper()
	writer, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Cleanup()
	for name, text := range map[string]string{"meta-data": metaData, "user-data": userData} {
		if err := writer.AddFile(strings.NewReader(text), name); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "seed.iso")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := writer.WriteTo(file, label); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGuestGoesOnAtOnceWhenDHCPIsAnswered(t *testing.T) {
	t.Parallel()
	g := boot(t, answered...)
	began := time.Now()
	g.await("=== datasource: None ===")
	if banner := g.await("cirros login: "); !strings.Contains(banner, "login as 'cirros' user. default password: 'gocubsgo'. use 'sudo' for root.") {
		t.Errorf("before the prompt: %q", banner)
	}
	t.Logf("login prompt after %v", time.Since(began))
	g.send("root")
	g.await("Login incorrect")
	g.logIn()
	g.run("sudo dmesg -n 1") // a guest that waits for its turn on the machine says so in between
	for command, want := range map[string]string{
		"id -un":                     "cirros",
		"sudo id -un":                "root",
		"sudo -n sh -c 'echo $0 a'":  "sh a",
		"sudo printf '%s|' 'a  b' c": "a  b|c|",
		"ip -4 -o addr show eth0 | grep -o '10.0.2.15/24'": "10.0.2.15/24",
		"cat /sys/class/net/eth0/mtu":                      "1450",
		"sudo ip addr add 192.168.100.21/24 dev eth0 && ip addr show eth0 | grep -o '192.168.100.21/24'": "192.168.100.21/24",
		"ping -c1 -W5 10.0.2.2 >/dev/null && echo answered":                                              "answered",
		"sudo ip addr add fd00::21/64 dev eth0 && ip -6 -o addr show eth0 | grep -o fd00::21/64":         "fd00::21/64",
		"sudo -i id -u": "0",
		"sudo kill -0 1 && { kill -0 1 2>/dev/null || echo only root may; }": "only root may",
	} {
		if got := g.run(command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	g.send("sudo su -")
	g.await("# ")
	if got := g.run("id -u"); got != "0" {
		t.Errorf("after sudo su -: user %s, want 0", got)
	}
}

func TestGuestRunsItsSeedBeforeTheLogin(t *testing.T) {
	t.Parallel()
	const metaData = `{"instance-id": "i-1", "local-hostname": "vm1"}`
	const userData = "#!/bin/sh\nip addr add 192.168.100.21/24 dev eth0 && echo seed: $(id -un)\n"
	for name, device := range map[string][]string{
		"ide":    {"-drive", "media=cdrom,file="},
		"scsi":   {"-machine", "q35", "-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=seed", "-drive", "if=none,id=seed,media=cdrom,file="},
		"virtio": {"-machine", "q35", "-drive", "if=virtio,format=raw,readonly=on,file="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			device[len(device)-1] += seed(t, "cidata", metaData, userData)
			g := boot(t, append(device, answered...)...)
			g.await("lease of 10.0.2.15 obtained") // a seed does not spare it DHCP
			g.await("seed: root")
			g.await("=== datasource: nocloud ===")
			g.await("vm1 login: ")
		})
	}
}

func TestGuestPassesByWhatIsNoSeed(t *testing.T) {
	t.Parallel()
	const userData = "#!/bin/sh\necho seed\n"
	for name, c := range map[string]struct{ label, metaData string }{
		"another label":  {"CIDATA", `{"local-hostname": "vm1"}`},
		"YAML meta-data": {"cidata", "local-hostname: vm1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := boot(t, append([]string{"-drive", "media=cdrom,file=" + seed(t, c.label, c.metaData, userData)}, answered...)...)
			if text := g.await("cirros login: "); strings.Contains(text, "seed\r\n") || !strings.Contains(text, "datasource: None") {
				t.Errorf("the guest took it for a seed: %q", text[max(0, len(text)-1000):])
			}
		})
	}
}

func TestGuestWaitsForDHCP(t *testing.T) {
	t.Parallel()
	const patience = 10 * time.Second // far from the three minutes, and longer than the rest of the boot
	g := boot(t, "-netdev", "hubport,id=net,hubid=0", "-device", "virtio-net-pci,netdev=net")
	g.await("udhcpc: broadcasting discover")
	end := time.After(patience)
	for {
		select {
		case chunk := <-g.output:
			g.text = append(g.text, chunk...)
			if bytes.Contains(g.text, []byte("login: ")) || bytes.Contains(g.text, []byte("discover")) {
				t.Fatalf("the guest did not wait: %q", g.text)
			}
		case <-end:
			return
		}
	}
}
