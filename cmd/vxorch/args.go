package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// intersperse moves a verb's options before its arguments, so that they may
// stand on either side: the library stops reading options at the first argument.
// What follows "--" are arguments.
func intersperse(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	done := []string{args[0]}
	rest := args[1:]
	commands, flags := app.Commands, app.Flags
	for {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return len(rest) > 0 && c.HasName(rest[0]) })
		if i < 0 {
			break
		}
		done, rest = append(done, rest[0]), rest[1:]
		commands, flags = commands[i].Subcommands, commands[i].Flags
	}
	if len(done) == 1 {
		return args
	}
	var arguments []string
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		switch {
		case word == "--":
			arguments = append(arguments, rest...)
			rest = nil
		case len(word) < 2 || word[0] != '-':
			arguments = append(arguments, word)
		default:
			done = append(done, word)
			if takesValue(flags, word) {
				if len(rest) == 0 {
					return done // without the "--", which would be its value
				}
				value := rest[0]
				rest = rest[1:]
				if strings.TrimLeft(word, "-") == diffOption && len(rest) > 0 && isNumber(value) && isNumber(rest[0]) {
					value, rest = value+","+rest[0], rest[1:]
				}
				done = append(done, value)
			}
		}
	}
	return append(append(done, "--"), arguments...)
}

// diffOption takes two numbers, which the library gets as one value.
const diffOption = "diff"

func isNumber(word string) bool {
	_, err := strconv.ParseUint(word, 10, 31)
	return err == nil
}

// takesValue tells whether the next word belongs to the option.
func takesValue(flags []cli.Flag, word string) bool {
	if strings.Contains(word, "=") {
		return false
	}
	name := strings.TrimLeft(word, "-")
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}
