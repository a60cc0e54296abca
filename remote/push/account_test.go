package push_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/push"
)

// need fails or skips the test where the machine lacks a program.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	switch {
	case err == nil:
	case os.Getenv("VXORCH_MUST_RUN") == "1":
		t.Fatalf("scripts/test installs it: %v", err)
	default:
		t.Skip(err)
	}
	return path
}

// helpers lists the helpers below dir.
func helpers(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(dir + "/*/vxhelper")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// password counts how often it is asked for.
func password(secret string) (func(context.Context) (string, error), *atomic.Int32) {
	var asked atomic.Int32
	return func(context.Context) (string, error) {
		asked.Add(1)
		return secret, nil
	}, &asked
}

func TestEveryLoginShellWillDo(t *testing.T) {
	need(t, "sudo")
	noise := `printf '\033[1mWelcome to the machine\033[0m\nlast login: '; echo a warning >&2`
	for _, name := range []string{"sh", "dash", "bash", "fish", "tcsh"} {
		t.Run(name, func(t *testing.T) {
			h := start(t, sshdtest.Config{Account: &sshdtest.Account{Shell: need(t, name)}, Lines: []string{"MaxSessions 1"}})
			for _, file := range []string{".bashrc", ".tcshrc", ".config/fish/config.fish"} {
				file = filepath.Join(h.Home, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(noise+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			opts := push.Options{Bundle: bundle(t)}
			works(t, mustStart(t, h.dial(t), opts))
			warm := mustStart(t, h.dial(t), opts)
			works(t, warm)
			if !warm.Cached {
				t.Error("the second start did not find the helper in the cache")
			}
		})
	}
}

func TestSudo(t *testing.T) {
	need(t, "sudo")
	with := sshdtest.AccountName + " ALL=(ALL:ALL) ALL"
	for name, c := range map[string]struct {
		sudoers string
		sudo    push.Sudo
		asked   int32 // each time
		lines   []string
	}{
		"without a password":                             {"", push.SudoAuto, 0, nil},
		"without, one session at most":                   {"", push.SudoAuto, 0, []string{"MaxSessions 1"}},
		"with a terminal of its own":                     {"Defaults use_pty\n" + sshdtest.AccountName + " ALL=(ALL:ALL) NOPASSWD: ALL", push.SudoAuto, 0, nil},
		"might ask but does not":                         {"", push.SudoAsk, 0, nil},
		"asks":                                           {with, push.SudoAsk, 1, nil},
		"asks, one session at most":                      {with, push.SudoAsk, 1, []string{"MaxSessions 1"}},
		"asks, and lectures, with a terminal of its own": {"Defaults use_pty, lecture=always\n" + with, push.SudoAsk, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, sshdtest.Config{Account: &sshdtest.Account{Sudoers: c.sudoers}, Lines: c.lines})
			secret, asked := password(sshdtest.AccountPassword)
			opts := push.Options{Bundle: bundle(t), Sudo: c.sudo, Password: secret}
			cold := mustStart(t, h.dial(t), opts)
			if want := len(c.lines) == 0; cold.SFTP != want {
				t.Errorf("the helper came by SFTP: %v, want %v", cold.SFTP, want)
			}
			works(t, cold)
			for _, cache := range []string{h.cache, h.RootHome + "/.cache"} {
				if got := helpers(t, cache+"/vxorch"); len(got) != 1 {
					t.Errorf("%s has the helpers %q, want one", cache, got)
				}
			}
			before := h.Sessions(t)
			warm := mustStart(t, h.dial(t), opts)
			if !warm.Cached {
				t.Error("the second start did not find the helper in the cache")
			}
			works(t, warm)
			if got := h.Sessions(t) - before; got != 1 {
				t.Errorf("a warm start took %d sessions, want 1", got)
			}
			if got := asked.Load(); got != 2*c.asked {
				t.Errorf("the password was asked for %d times in two starts, want %d", got, 2*c.asked)
			}
		})
	}
}

// TestChroot has a user who sees another root, by SFTP and by shell alike.
func TestChroot(t *testing.T) {
	h := start(t, sshdtest.Config{
		Account: &sshdtest.Account{Setup: "mount -t tmpfs -o mode=755 tmpfs /mnt; mkdir /mnt/jail; mount --rbind / /mnt/jail"},
		Lines:   []string{"ChrootDirectory /mnt/jail"},
	})
	cold := mustStart(t, h.dial(t), push.Options{Bundle: bundle(t), Sudo: push.SudoNever})
	works(t, cold)
	if !cold.SFTP {
		t.Error("the helper did not come by SFTP")
	}
}

func TestWithoutSudoTheHelperRunsAsTheUser(t *testing.T) {
	h := start(t, sshdtest.Config{Account: &sshdtest.Account{}})
	works(t, mustStart(t, h.dial(t), push.Options{Bundle: bundle(t), Sudo: push.SudoNever}))
	if got := helpers(t, h.RootHome+"/.cache/vxorch"); len(got) > 0 {
		t.Errorf("root has %q", got)
	}
}

func TestSudoFailures(t *testing.T) {
	need(t, "sudo")
	with := sshdtest.AccountName + " ALL=(ALL:ALL) ALL"
	for name, c := range map[string]struct {
		account sshdtest.Account
		sudo    push.Sudo
		secret  string
		words   []string
	}{
		"password needed":  {sshdtest.Account{Sudoers: with}, push.SudoAuto, "", []string{"sudo wants a password", "ssh.sudo: ask", "VXORCH_SUDO_PASSWORD_FILE"}},
		"wrong password":   {sshdtest.Account{Sudoers: with}, push.SudoAsk, "wrong", []string{"sudo refused the password"}},
		"not in sudoers":   {sshdtest.Account{Sudoers: "root ALL=(ALL) ALL"}, push.SudoAsk, sshdtest.AccountPassword, []string{"the user may not use sudo", "ssh.user"}},
		"other commands":   {sshdtest.Account{Sudoers: sshdtest.AccountName + " ALL=(ALL) NOPASSWD: /bin/true"}, push.SudoAsk, sshdtest.AccountPassword, []string{"may not run a shell", "/bin/sh"}},
		"wants a terminal": {sshdtest.Account{Sudoers: "Defaults requiretty\n" + with}, push.SudoAsk, sshdtest.AccountPassword, []string{"sudo wants a terminal", "!requiretty"}},
		"not installed":    {sshdtest.Account{Setup: "mount --bind /dev/null /usr/bin/sudo"}, push.SudoAuto, "", []string{"has no sudo", "ssh.user"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, sshdtest.Config{Account: &c.account})
			secret, asked := password(c.secret)
			stream, err := push.Start(t.Context(), h.dial(t), push.Options{Bundle: bundle(t), Sudo: c.sudo, Password: secret})
			if err == nil {
				stream.Close()
				t.Fatal("Start succeeded")
			}
			e := hostapi.AsError(err)
			if e.Kind != hostapi.KindPermission {
				t.Errorf("Start: %v, of kind %d; want kind %d", err, e.Kind, hostapi.KindPermission)
			}
			for _, w := range c.words {
				if !strings.Contains(e.Message+"\n"+e.Hint, w) {
					t.Errorf("Start: %s\n%s\ndoes not mention %q", e.Message, e.Hint, w)
				}
			}
			if strings.Contains(e.Message, sshdtest.AccountPassword) || asked.Load() > 1 {
				t.Errorf("Start: %s; the password was asked for %d times", e.Message, asked.Load())
			}
			if got := helpers(t, h.RootHome+"/.cache/vxorch"); len(got) > 0 {
				t.Errorf("root has %q", got)
			}
		})
	}
}

// trap is a program that leaves a trace when it is run.
func trap(t *testing.T, h host) (program []byte, sprung func() bool) {
	t.Helper()
	trace := filepath.Join(h.Home, "trace")
	return []byte("#!/bin/sh\ntouch " + "/home/" + sshdtest.AccountName + "/trace\n"), func() bool {
		_, err := os.Stat(trace)
		return err == nil
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHelperThatIsNotOursAloneIsRefused(t *testing.T) {
	const user = sshdtest.AccountID
	for name, spoil := range map[string]func(t *testing.T, cache, file string){
		"it belongs to another":     func(t *testing.T, _, file string) { must(t, os.Chown(file, 4711, 4711)) },
		"others may write to it":    func(t *testing.T, _, file string) { must(t, os.Chmod(file, 0o722)) },
		"others get into its cache": func(t *testing.T, cache, _ string) { must(t, os.Chmod(cache, 0o777)) },
		"others own its cache":      func(t *testing.T, cache, _ string) { must(t, os.Chown(cache, 4711, user)) },
		"its directory is open":     func(t *testing.T, _, file string) { must(t, os.Chmod(filepath.Dir(file), 0o777)) },
		"its cache is somewhere else": func(t *testing.T, cache, _ string) {
			must(t, os.Rename(cache, cache+".moved"))
			must(t, os.Symlink("vxorch.moved", cache))
		},
		"it is somewhere else": func(t *testing.T, cache, file string) {
			must(t, os.Rename(file, file+".moved"))
			must(t, os.Symlink("vxhelper.moved", file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, sshdtest.Config{Account: &sshdtest.Account{}})
			opts := push.Options{Bundle: bundle(t), Sudo: push.SudoNever}
			works(t, mustStart(t, h.dial(t), opts))
			file := helpers(t, h.cache+"/vxorch")[0]
			program, sprung := trap(t, h)
			must(t, os.WriteFile(file, program, 0o700))
			spoil(t, h.cache+"/vxorch", file)

			again := mustStart(t, h.dial(t), opts)
			works(t, again)
			if again.Cached || sprung() {
				t.Errorf("it was run: %v, taken for cached: %v", sprung(), again.Cached)
			}
		})
	}
}

// TestRootRunsNothingThatTheUserCanWriteTo has the user put another program in
// the helper's place, before and after root has made its copy.
func TestRootRunsNothingThatTheUserCanWriteTo(t *testing.T) {
	need(t, "sudo")
	h := start(t, sshdtest.Config{Account: &sshdtest.Account{}})
	opts := push.Options{Bundle: bundle(t)}
	works(t, mustStart(t, h.dial(t), opts))
	users := helpers(t, h.cache+"/vxorch")[0]
	program, sprung := trap(t, h)

	must(t, os.WriteFile(users, program, 0o700))
	works(t, mustStart(t, h.dial(t), opts))
	if sprung() {
		t.Error("root has a copy, and the user's program was run")
	}

	must(t, os.RemoveAll(h.RootHome+"/.cache"))
	var log strings.Builder
	opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	healed := mustStart(t, h.dial(t), opts)
	works(t, healed)
	if sprung() || healed.Cached || !strings.Contains(log.String(), "not ours") {
		t.Errorf("root has no copy, and the user's program was run: %v; taken for the helper: %v; log %q", sprung(), healed.Cached, log.String())
	}
	works(t, mustStart(t, h.dial(t), opts))
	if info, err := os.Stat(helpers(t, h.RootHome+"/.cache/vxorch")[0]); err != nil || info.Mode() != 0o700 {
		t.Errorf("root's copy: %v, %v; want mode 0700", info.Mode(), err)
	}
}

func TestPlacesForTheHelperAreTriedInTurn(t *testing.T) {
	need(t, "sudo")
	mount := func(options string) string {
		return fmt.Sprintf("mount -t tmpfs -o mode=755,uid=%d,gid=%[1]d,%s tmpfs /home/%s", sshdtest.AccountID, options, sshdtest.AccountName)
	}
	elsewhere := fmt.Sprintf("var-tmp/vxorch-%d", sshdtest.AccountID)
	for name, c := range map[string]struct {
		config sshdtest.Config
		place  string // in the account's world
	}{
		"home is mounted noexec": {sshdtest.Config{Account: &sshdtest.Account{Setup: mount("noexec")}}, elsewhere},
		"home is read-only":      {sshdtest.Config{Account: &sshdtest.Account{Setup: mount("ro")}}, elsewhere},
		"home is full":           {sshdtest.Config{Account: &sshdtest.Account{Setup: mount("size=1m")}}, elsewhere},
		// What df does not know: a quota, as a limit on the size of files stands for.
		"home takes no more":            {sshdtest.Config{Account: &sshdtest.Account{Setup: mount("size=600k") + "\nmount --bind /bin/false /bin/df"}}, elsewhere},
		"home takes no more but packed": {sshdtest.Config{Account: &sshdtest.Account{Setup: mount("size=2m") + "\nmount --bind /bin/false /bin/df"}}, elsewhere},
		"no home":                       {sshdtest.Config{Account: &sshdtest.Account{}, Lines: []string{`ForceCommand unset HOME; sh -c "$SSH_ORIGINAL_COMMAND"`}}, elsewhere},
		"a runtime directory": {sshdtest.Config{
			Account: &sshdtest.Account{Setup: mount("ro")}, Env: map[string]string{"XDG_RUNTIME_DIR": "/var/tmp/run me"},
		}, "var-tmp/run me/vxorch"},
		"home with spaces": {sshdtest.Config{Account: &sshdtest.Account{}, Env: map[string]string{"HOME": "/home/tester/a home"}}, "home/tester/a home/.cache/vxorch"},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, c.config)
			place := filepath.Join(filepath.Dir(filepath.Dir(h.Home)), c.place)
			opts := push.Options{Bundle: packed(t)}
			cold := mustStart(t, h.dial(t), opts)
			works(t, cold)
			if len(helpers(t, place)) != 1 {
				t.Errorf("the helper is not in %s", c.place)
			}
			if forced := c.config.Lines != nil; cold.SFTP == forced { // which stands in for SFTP, too
				t.Errorf("the helper came by SFTP: %v", cold.SFTP)
			}
			warm := mustStart(t, h.dial(t), opts)
			works(t, warm)
			if !warm.Cached {
				t.Error("the second start did not find the helper there")
			}
		})
	}
}

func TestNoPlaceForTheHelper(t *testing.T) {
	h := start(t, sshdtest.Config{Account: &sshdtest.Account{Setup: `
		mount -t tmpfs -o noexec,mode=777 tmpfs /home/tester
		mount -t tmpfs -o size=1m,mode=777 tmpfs /var/tmp
		mkdir -m 777 /var/tmp/vxorch-7001
		umask 000; mkdir -p /tmp/vxorch-7001`}})
	t.Cleanup(func() { os.Remove("/tmp/vxorch-7001") })
	_, err := push.Start(t.Context(), h.dial(t), push.Options{Bundle: bundle(t), Sudo: push.SudoNever})
	for _, w := range []string{"the user's cache", "/home/tester/.cache/vxorch is mounted noexec", "/var/tmp/vxorch-7001 belongs to another user"} {
		if !errors.Is(err, hostapi.ErrHelper) || !strings.Contains(err.Error(), w) {
			t.Errorf("Start = %v, want ErrHelper that mentions %q", err, w)
		}
	}
}

// TestHelperOfTheHostsMachine has a host that calls itself an arm64 one; what it
// gets runs here nevertheless.
func TestHelperOfTheHostsMachine(t *testing.T) {
	program64, err := standin()
	must(t, err)
	b := bundleOf(t, fstest.MapFS{
		"vxhelper-linux-amd64": &fstest.MapFile{Data: []byte("#!/bin/false\n")},
		"vxhelper-linux-arm64": &fstest.MapFile{Data: program64},
	})
	for _, machine := range []string{"aarch64", "arm64"} {
		h := start(t, sshdtest.Config{Env: program(t, "uname", "echo Linux "+machine)})
		works(t, mustStart(t, h.dial(t), push.Options{Bundle: b}))
	}
}

// TestHostsToolsMayBeBusyboxOnes starts where the shell and all tools are
// busybox', and where there is no gzip.
func TestHostsToolsMayBeBusyboxOnes(t *testing.T) {
	busybox := need(t, "busybox")
	dir := t.TempDir()
	for _, tool := range []string{"sh", "uname", "id", "ls", "mkdir", "chmod", "rm", "rmdir", "mv", "df", "head", "gzip", "sha256sum"} {
		must(t, os.Symlink(busybox, filepath.Join(dir, tool)))
	}
	for name, c := range map[string]struct{ without string }{"all of them": {"none"}, "no gzip": {"gzip"}} {
		t.Run(name, func(t *testing.T) {
			os.Remove(filepath.Join(dir, c.without))
			h := start(t, sshdtest.Config{Env: map[string]string{"PATH": dir}})
			works(t, mustStart(t, h.dial(t), push.Options{Bundle: packed(t)}))
		})
	}
}
