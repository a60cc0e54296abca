package console

import "regexp"

// prompt is what a guest waits for.
type prompt byte

const (
	noPrompt       prompt = iota
	loginPrompt           // a user name
	passwordPrompt        // a password
	shellPrompt           // a command
	morePrompt            // the rest of a command
)

// A prompt is the whole of the last line, and nothing follows it: banners speak
// of "login as" and "default password:" in the middle of theirs.
var (
	loginLine    = regexp.MustCompile(`(?i)^(?:\S+ ){0,3}login: ?$`)
	lastLogin    = regexp.MustCompile(`(?i)^last login: ?$`) // the beginning of a greeting
	passwordLine = regexp.MustCompile(`(?i)^(?:\S+'s )?password: ?$`)
	shellLine    = regexp.MustCompile(`[$#] $`)
	moreLine     = regexp.MustCompile(`^> $`)
)

// longestPrompt in bytes: what is longer is none.
const longestPrompt = 256

// promptOf tells what the last line of text asks for.
func promptOf(text string) prompt {
	start := len(text)
	for start > 0 && text[start-1] != '\n' {
		if start--; len(text)-start > longestPrompt {
			return noPrompt
		}
	}
	line := text[start:]
	switch {
	case loginLine.MatchString(line) && !lastLogin.MatchString(line):
		return loginPrompt
	case passwordLine.MatchString(line):
		return passwordPrompt
	case shellLine.MatchString(line):
		return shellPrompt
	case moreLine.MatchString(line):
		return morePrompt
	}
	return noPrompt
}
