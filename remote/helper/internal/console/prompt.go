package console

import (
	"slices"
	"strings"
)

// prompt is what a guest waits for.
type prompt byte

const (
	noPrompt       prompt = iota
	loginPrompt           // a user name
	passwordPrompt        // a password
	shellPrompt           // a command
	morePrompt            // the rest of a command
)

// longestPrompt in bytes: what is longer is none.
const longestPrompt = 256

// promptOf tells what the last line of text asks for. A prompt is the whole of
// it: banners speak of "login as" and "default password:" in the middle of theirs.
//
// This and what else reads a guest's words does without package regexp, which
// would be 2 % of the helper's size.
func promptOf(text string) prompt {
	start := len(text)
	for start > 0 && text[start-1] != '\n' {
		if start--; len(text)-start > longestPrompt {
			return noPrompt
		}
	}
	line := text[start:]
	words := strings.Split(strings.TrimSuffix(strings.ToLower(line), " "), " ")
	last := words[len(words)-1]
	switch {
	case strings.HasSuffix(line, "$ ") || strings.HasSuffix(line, "# "):
		return shellPrompt
	case line == "> ":
		return morePrompt
	case slices.Contains(words[:len(words)-1], ""):
		return noPrompt // indented or in columns
	case last == "login:" && len(words) <= 4 && words[0] != "last": // that begins a greeting
		return loginPrompt
	case last == "password:" && (len(words) == 1 || len(words) == 2 && strings.HasSuffix(words[0], "'s")):
		return passwordPrompt
	}
	return noPrompt
}
