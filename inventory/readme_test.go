package inventory

import (
	"os"
	"strings"
	"testing"
)

func TestTheInventoriesOfTheReadmeAreRight(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	if len(blocks) < 2 {
		t.Fatalf("README.md has %d inventories, want at least the short and the long one", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		checkInvariants(t, mustParse(t, block))
	}
}
