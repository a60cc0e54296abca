package own

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FRR is what a lab calls the directory of its control plane.
const FRR = "frr"

// Every lists the paths of name in the labs' directories, where they have it.
func (s Store) Every(name string) []string {
	all, _ := filepath.Glob(filepath.Join(s.root(), "*", name)) // the pattern is none of a stranger's
	return all
}

// Remains lists what is in the lab's directory besides what a run puts there and
// takes away again: the lock, the intents and the control plane, which are observed
// by themselves.
func (s Store) Remains(lab string) ([]string, error) {
	dir, err := s.labDir(lab)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for what is left: %w", err)
	}
	var remains []string
	for _, e := range entries {
		if e.Name() != "lock" && e.Name() != "intents" && e.Name() != FRR {
			remains = append(remains, filepath.Join(dir, e.Name()))
		}
	}
	intents, err := os.ReadDir(filepath.Join(dir, "intents"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for what is left: %w", err)
	}
	for _, e := range intents {
		if _, ok := parseIntent(e.Name()); !ok {
			remains = append(remains, filepath.Join(dir, "intents", e.Name()))
		}
	}
	return remains, nil
}
