package own

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"vxorch/remote/hostapi"
)

// Intent says that an object is about to be made. It is written before the
// object exists and taken away when the object bears its mark: the kernel drops
// an alias given at creation but keeps name and MAC, so that an unmarked object
// that matches an intent is ours, whatever moment its maker died.
type Intent struct {
	Kind string // one of hostapi's kinds
	Name string
	MAC  string // planned; empty for a namespace
}

// Matches reports whether an unmarked object of this kind, name and MAC is the
// one that one of intents announces.
func Matches(intents []Intent, kind, name, mac string) bool {
	for _, i := range intents {
		if i == (Intent{kind, name, mac}) {
			return true
		}
	}
	return false
}

// The whole intent is in its file's name, the file is empty: it is there or it
// is not, never half-written. A kind and a MAC have no "=" in them; a name may.

func (i Intent) file() string { return i.Kind + "=" + i.Name + "=" + i.MAC }

func parseIntent(file string) (Intent, bool) {
	kind, rest, ok := strings.Cut(file, "=")
	at := strings.LastIndexByte(rest, '=')
	if !ok || at < 0 {
		return Intent{}, false
	}
	return Intent{Kind: kind, Name: rest[:at], MAC: rest[at+1:]}, true
}

// Intents lists the lab's intents, by name of file. It needs no lock.
func (s Store) Intents(lab string) ([]Intent, error) {
	dir, err := s.labDir(lab)
	if err != nil {
		return nil, err
	}
	for _, dir := range s.dirs(lab) {
		if err := trust(dir); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("list intents: %w", classify(err))
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "intents"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // its last holder has just left
	}
	if err != nil {
		return nil, fmt.Errorf("list intents: %w", classify(err))
	}
	var intents []Intent
	for _, e := range entries {
		if i, ok := parseIntent(e.Name()); ok {
			intents = append(intents, i)
		}
	}
	return intents, nil
}

// IntentPath is where i's file is.
func (s Store) IntentPath(lab string, i Intent) string {
	return filepath.Join(s.root(), lab, "intents", i.file())
}

// Intents lists the lab's intents.
func (l *Lock) Intents() ([]Intent, error) { return l.store.Intents(l.lab) }

// Intend writes i. An intent that is there already is fine.
func (l *Lock) Intend(i Intent) error {
	if i.Kind == "" || strings.Contains(i.Kind, "=") || i.Name == "" || strings.ContainsAny(i.file(), "/\x00") || strings.Contains(i.MAC, "=") {
		return &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("%q is not a name for a %s", i.Name, i.Kind)}
	}
	f, err := os.OpenFile(l.store.IntentPath(l.lab, i), os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write the intent: %w", err)
	}
	return f.Close()
}

// Forget takes i away. One that is not there is fine.
func (l *Lock) Forget(i Intent) error {
	if err := os.Remove(l.store.IntentPath(l.lab, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the intent: %w", err)
	}
	return nil
}
