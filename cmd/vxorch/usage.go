package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// usageError is a mistake on the command line.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

// badUsage says in plain words what the library found wrong with the options. It
// has no types for that, only texts, which are those of package flag.
func badUsage(c *cli.Context, err error, _ bool) error {
	name, flags := "vxorch", c.App.Flags
	if c.Command != nil && c.Command.Name != "" {
		name, flags = c.Command.HelpName, c.Command.Flags
	}
	e := &usageError{err.Error(), name + " --help lists the options"}
	if option, ok := strings.CutPrefix(e.message, "flag provided but not defined: -"); ok {
		e.message = fmt.Sprintf("unknown option %q", option)
	} else if word, ok := strings.CutPrefix(e.message, "bad flag syntax: "); ok {
		e.message = fmt.Sprintf("%q is no option", word)
	} else if option, ok := strings.CutPrefix(e.message, "flag needs an argument: -"); ok {
		e.message = dashed(option) + " needs a value"
	} else if m := wrongValue.FindStringSubmatch(e.message); m != nil {
		e.wrong(flags, m[2], dashed(m[2])+" "+m[1], m[3])
	} else if m := wrongVariable.FindStringSubmatch(e.message); m != nil {
		e.wrong(flags, m[3], m[2]+"="+m[1], m[4])
	}
	return e
}

// The value is in quotes as Go writes them.
var (
	wrongValue    = regexp.MustCompile(`^invalid (?:boolean )?value ("(?:[^"\\]|\\.)*") for (?:flag )?-(\S+): (.*)$`)
	wrongVariable = regexp.MustCompile(`^could not parse ("(?:[^"\\]|\\.)*") .*from environment variable "(\w+)" for flag (\S+): (.*)$`)
)

// wrong tells of a value that does not fit its option.
func (e *usageError) wrong(flags []cli.Flag, option, given, reason string) {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), option) })
	if i < 0 {
		return
	}
	switch flags[i].(type) {
	case *cli.DurationFlag:
		e.message, e.hint = given+" is not a duration", "write it with its unit: 90s, 5m, 1h30m"
	case *cli.BoolFlag:
		e.message, e.hint = given+" is neither true nor false", ""
	case *cli.IntFlag, *cli.Int64Flag:
		e.message = given + " is not a whole number"
		if strings.Contains(reason, "out of range") {
			e.message = given + " is too large"
		}
	}
}

// dashed is an option as it is typed.
func dashed(option string) string {
	if len(option) == 1 {
		return "-" + option
	}
	return "--" + option
}
