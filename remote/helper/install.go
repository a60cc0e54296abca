package helper

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// install moves the executable at path to target if its content, read from
// image, has the SHA-256 sum want; else it removes it, so that no spoilt upload
// is ever run again. Others may install the same at the same time.
func install(image, path, target, want string) error {
	sum, err := sumOf(image)
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if sum != strings.ToLower(want) {
		return errors.Join(fmt.Errorf("%s is damaged: its SHA-256 sum is %s, not %s", path, sum, want), os.Remove(path))
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if err := os.Rename(path, target); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	return nil
}

func sumOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
