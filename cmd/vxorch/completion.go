package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func completionVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print what makes a shell complete verbs and options", ArgsUsage: "bash|zsh", HideHelpCommand: true, OnUsageError: badUsage,
		Description: "For this session: source <(vxorch completion bash). Where no verb or option fits, file names are completed.",
		Action: func(c *cli.Context) error {
			switch shell := c.Args().Slice(); {
			case slices.Equal(shell, []string{"bash"}):
			case slices.Equal(shell, []string{"zsh"}): // it can do as bash does
				fmt.Fprintln(s.out, "autoload -U +X compinit bashcompinit && compinit && bashcompinit")
			default:
				return &usageError{"completion takes the name of a shell", "vxorch completion bash, or zsh"}
			}
			return writeCompletion(s.out, c.App)
		},
	}
}

// writeCompletion writes a function for bash that knows the verbs and options of app.
func writeCompletion(w io.Writer, app *cli.App) error {
	var cases strings.Builder
	var words []string
	for _, verb := range app.Commands {
		words = append(words, verb.Name)
		if len(verb.Subcommands) == 0 {
			completeOptions(&cases, verb.Name, verb.Flags)
			continue
		}
		var more []string
		for _, sub := range verb.Subcommands {
			more = append(more, sub.Name)
			completeOptions(&cases, verb.Name+" "+sub.Name, sub.Flags)
		}
		completeWords(&cases, "'"+verb.Name+" '", more)
	}
	completeWords(&cases, "' '", append(words, "--help", "--version"))
	// Options are offered to who has begun one: else it is the place of a file.
	_, err := fmt.Fprintf(w, `_vxorch() {
	local cur=${COMP_WORDS[COMP_CWORD]} fits=
	case "${COMP_WORDS[*]:1:$((COMP_CWORD - 1))} " in
%s	esac
	if [[ $fits == -* && $cur != -* ]]; then fits=; fi
	COMPREPLY=($(compgen -W "$fits" -- "$cur"))
}
complete -o default -F _vxorch vxorch
`, cases.String())
	return err
}

// completeOptions offers the options of a verb wherever they may stand behind it.
func completeOptions(w io.Writer, verb string, flags []cli.Flag) {
	words := []string{"--help"}
	for _, f := range flags {
		if name := "--" + f.Names()[0]; !slices.Contains(words, name) {
			words = append(words, name)
		}
	}
	completeWords(w, "'"+verb+" '*", words)
}

func completeWords(w io.Writer, pattern string, words []string) {
	fmt.Fprintf(w, "\t%s) fits='%s' ;;\n", pattern, strings.Join(words, " "))
}
