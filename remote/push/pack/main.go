// Pack compresses helpers for the bundle: pack DIR FILE… makes DIR/FILE.gz of
// each. One that is there already is left alone.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"vxorch/remote/push"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: pack DIR FILE…")
		os.Exit(2)
	}
	for _, file := range os.Args[2:] {
		if err := pack(file, filepath.Join(os.Args[1], filepath.Base(file)+".gz")); err != nil {
			fmt.Fprintln(os.Stderr, "pack:", err)
			os.Exit(1)
		}
	}
}

func pack(file, target string) error {
	program, err := os.ReadFile(file)
	if err != nil || holds(target, program) {
		return err
	}
	var packed bytes.Buffer
	if err := push.Pack(&packed, program); err != nil {
		return err
	}
	return os.WriteFile(target, packed.Bytes(), 0o644)
}

// holds tells whether target was made of program.
func holds(target string, program []byte) bool {
	f, err := os.Open(target)
	if err != nil {
		return false
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	sum := sha256.Sum256(program)
	return err == nil && z.Comment == hex.EncodeToString(sum[:])
}
