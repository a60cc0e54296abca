package push

import (
	"fmt"
	"strings"
	"time"

	"vxorch/remote/hostapi"
)

// The command lines run under whatever shell the user logs in with. Each is
// sh -c '…' with nothing in the quotes that any of them would look at: no
// single quote, no backslash (fish), no exclamation mark and no newline (csh).

// cache is where the host keeps helpers, by content hash.
const cache = `${XDG_CACHE_HOME:-$HOME/.cache}/vxorch`

// What the command lines answer, if the helper itself does not.
const (
	answerNeed   = "need"
	answerNoexec = "noexec"
)

// cachedCommand starts the helper that the host has in its cache. If it has
// none, it makes room for one and answers: need, kernel, machine, directory.
// Only the host knows which of the helpers fits, so it is offered all.
func cachedCommand(b *Bundle, token string, lease time.Duration) string {
	return startCommand(b, token, lease, "")
}

// freshCommand is cachedCommand for a host whose cached helper is of no use: it
// goes first.
func freshCommand(b *Bundle, token string, lease time.Duration) string {
	return startCommand(b, token, lease, `rm -f "$d/vxhelper"; `)
}

func startCommand(b *Bundle, token string, lease time.Duration, first string) string {
	var cases strings.Builder
	for _, m := range machines {
		if h, ok := b.helpers[m.arch]; ok {
			var patterns []string
			for _, name := range m.names {
				patterns = append(patterns, `"Linux `+name+`"`)
			}
			fmt.Fprintf(&cases, "%s) h=%s;; ", strings.Join(patterns, "|"), h.hash)
		}
	}
	return shell(fmt.Sprintf(`u=$(uname -sm); case $u in %s*) echo; echo "%s %s $u"; exit;; esac; `+
		`d=%s/$h; %sif [ -x "$d/vxhelper" ]; then exec "$d/vxhelper" %s; fi; `+
		`(umask 077; mkdir -p "$d"); echo; echo "%s %s $u $d"`,
		cases.String(), token, answerNeed, cache, first, serve(token, lease), token, answerNeed))
}

// installCommand starts the uploaded file temp, which proves to be helper and
// moves itself into place.
func installCommand(h helper, temp, token string, lease time.Duration) string {
	return shell(fmt.Sprintf(`d=%s/%s; t="$d/%s"; chmod 0700 "$t" || exit; `+
		`if [ -x "$t" ]; then exec "$t" %s --install "$d/vxhelper" --sha256 %s; fi; echo; echo "%s %s"`,
		cache, h.hash, temp, serve(token, lease), h.hash, token, answerNoexec))
}

// receiveCommand writes its standard input into the file temp.
func receiveCommand(h helper, temp string) string {
	return shell(fmt.Sprintf(`umask 077; d=%s/%s; mkdir -p "$d" && cat > "$d/%s"`, cache, h.hash, temp))
}

// removeCommand removes the file temp.
func removeCommand(h helper, temp string) string {
	return shell(fmt.Sprintf(`d=%s/%s; rm -f "$d/%s"`, cache, h.hash, temp))
}

func serve(token string, lease time.Duration) string {
	return fmt.Sprintf("serve --token %s --lease %s", token, lease)
}

func shell(script string) string { return "sh -c '" + script + "'" }

// isReady tells whether an answer is the helper's own.
func isReady(answer string) bool {
	word, _, _ := strings.Cut(answer, " ")
	return word == "ready"
}

// readNeed takes the answer of a host that has no helper apart.
func readNeed(answer string) (machine, dir string, err error) {
	fields := strings.SplitN(answer, " ", 4)
	if len(fields) < 3 || fields[0] != answerNeed {
		return "", "", failure(hostapi.KindHelper, "", "start the helper: strange answer %q", answer)
	}
	kernel, machine := fields[1], fields[2]
	if len(fields) < 4 {
		return "", "", failure(hostapi.KindUnsupported, "hosts of a lab run Linux on amd64 or arm64",
			"there is no helper for this host: %q on %q", kernel, machine)
	}
	return machine, fields[3], nil
}
