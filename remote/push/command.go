package push

import (
	"fmt"
	"strings"
	"time"

	"vxorch/remote/hostapi"
)

// The command line runs under whatever shell the user logs in with. It is
// sh -c '…' vxorch '…' with nothing in the quotes that any of them would look
// at: no single quote, no backslash (fish), no exclamation mark and no newline
// (csh).
//
// The first script does the user's part: it looks for the helper in the user's
// cache, receives it if need be, and starts it, by sudo where that is asked for.
// The second is what sudo runs. Only the host knows which of the helpers fits,
// so the line has the hashes of all.
//
// Whoever could write to a helper between the look at it and its start could run
// what he likes. So a script enters the cache's directory, which nobody can put
// another in place of then, and takes it only if it is the user's own and open to
// nobody else, which holds for all beneath it.
//
// What the user can write to is no good for root. Root therefore runs copies of
// its own, in its own cache: sudo's script makes one of the user's file, takes
// the hash of the copy, which nobody else can reach, and compares that with the
// one wanted. That the helper itself says it is the right one would prove
// nothing. Once it is there, the copy is started without the user's file being
// looked at, in the same round trip.

// What the scripts say, each on a line after the token.
const (
	answerNeed    = "need"    // HASH FORMAT FILE: send the helper, into FILE or inline
	answerGot     = "got"     // it has arrived
	answerPassed  = "passed"  // REASONS: places that were not taken
	answerSudo    = "sudo"    // it is sudo's turn
	answerReady   = "ready"   // the helper's own greeting
	answerFull    = "full"    // NUMBER DIR: the place took no more
	answerNowhere = "nowhere" // USER REASONS: no place would do
	answerSpoilt  = "spoilt"  // SUM FILE: not what was sent
	answerAlien   = "alien"   // KERNEL MACHINE: no helper for it
	answerNoSudo  = "nosudo"  // there is no sudo
)

const (
	formatPacked = "gz"
	formatBare   = "raw"
)

// What the controller answers to need, on a line of its own.
const (
	wordStored = "stored" // HASH: FILE has the helper, as it was asked for, with that SHA-256
	wordInline = "inline" // the helper follows
)

// request is what a command line is for.
type request struct {
	bundle *Bundle
	token  string
	temp   string // name of the file for an upload
	lab    string // empty: no lab's
	lease  time.Duration
	sudo   []string // how users other than root become it; nil: they do not
	skip   int      // so many places are not to be taken
	fresh  bool     // the helper in the cache is of no use
	inline bool     // SFTP does not do
}

// common is what both scripts know: h is the helper's hash, n its size, z what is
// packed of it beside it, x the name for a new file. r says why a place was not taken.
const common = `say() { echo; echo "$t $*"; }; ` +
	// own enters the directory $1 if it is ours alone.
	`own() { if [ -L "$1" ]; then r="is a symbolic link"; elif cd -P "$1" 2>/dev/null; then if [ -O . ]; then ` +
	`case $(ls -ldn .) in drwx------*) return 0;; *) r="is open to others";; esac; else r="belongs to another user"; fi; ` +
	`else r="cannot be entered"; fi; return 1; }; ` +
	// has enters the directory $1 if it is ours alone and has our helper.
	`has() { [ -d "$1/$h" ] || return 1; own "$1" || { w="$w$1 $r; "; return 1; }; [ -f $h/vxhelper ] || return 1; ` +
	`if [ -O $h/vxhelper ] && case $(ls -ldn $h $h/vxhelper) in drwx------*-rwx------*) ;; *) false;; esac; ` +
	`then [ -x $h/vxhelper ]; else w="$w$1/$h/vxhelper is not ours alone; "; return 1; fi; }; ` +
	// room tells whether the working directory has room for the helper.
	`room() { set -- $(LC_ALL=C df -Pk . 2>/dev/null); [ "${11}" -lt $(((n+z)/1024+64)) ] 2>/dev/null && return 1; return 0; }; ` +
	// make makes and enters the directory $1, with a file $x that can be run and
	// grow. Below /dev/null is what stands for a directory that is not known.
	`make() { case $1 in /dev/null/*) return 1;; esac; (umask 077; mkdir -p "$1") 2>/dev/null || { w="$w$1 cannot be made; "; return 1; }; ` +
	`own "$1" || { w="$w$1 $r; "; return 1; }; ` +
	`if mkdir -p $h 2>/dev/null && true 2>/dev/null >$x && chmod 700 $h $x; then ` +
	`if [ -x $x ]; then room && return 0; r="has no room"; else r="is mounted noexec"; fi; else r="cannot be written to"; fi; ` +
	`rm -f $x; rmdir $h "$1" 2>/dev/null; w="$w$1 $r; "; return 1; }; ` +
	// proven ends it all if the file $1 does not have the hash $2.
	`proven() { s=$(sha256sum <$1); s=${s%% *}; case $s in "${2:-none}") return 0;; esac; rm -f $x $x.sent; say spoilt "${s:-none}" "$PWD/$1"; exit 1; }; ` +
	`umask 077; r=; w=; `

// places sets the directories for the cache, the first that does is taken. A
// home may be missing or mounted noexec or read-only, /tmp too.
const places = `set -- "${XDG_CACHE_HOME:-${HOME:-/dev/null}/.cache}/vxorch" "${XDG_RUNTIME_DIR:-/dev/null}/vxorch" /var/tmp/vxorch-$i /tmp/vxorch-$i; `

func (q request) command() string {
	return "sh -c '" + q.userScript() + "' vxorch '" + q.rootScript() + "'"
}

func (q request) userScript() string {
	var s strings.Builder
	fmt.Fprintf(&s, `t=%s x=%s R=$1; `, q.token, q.temp)
	s.WriteString(common)
	s.WriteString(`u=$(uname -sm); case $u in `)
	for _, m := range machines {
		if h, ok := q.bundle.helpers[m.arch]; ok {
			var patterns []string
			for _, name := range m.names {
				patterns = append(patterns, `"Linux `+name+`"`)
			}
			fmt.Fprintf(&s, `%s) h=%s n=%d z=%d;; `, strings.Join(patterns, "|"), h.hash, h.size, h.packed)
		}
	}
	fmt.Fprintf(&s, `*) say %s $u; exit;; esac; x=$h/$x; i=$(id -u); `, answerAlien)
	s.WriteString(places)
	// Who says something to a connection that is gone is killed for it.
	s.WriteString(`trap "rm -f $x $x.sent; exit 1" HUP PIPE TERM; `)
	s.WriteString(`go() { `)
	if q.sudo == nil {
		s.WriteString(q.serve("") + "; ")
	} else {
		fmt.Fprintf(&s, `if [ $i = 0 ]; then %s; fi; command -v sudo >/dev/null || { say %s; exit 1; }; say %s; `+
			`exec env LC_ALL=C sudo %s -H -- sh -c "$R" vxorch "$PWD/$h/vxhelper" $h $n; `,
			q.serve(""), answerNoSudo, answerSudo, strings.Join(q.sudo, " "))
	}
	s.WriteString(`}; `)
	s.WriteString(q.drop())
	s.WriteString(`for d do has "$d" && go; done; `)
	fmt.Fprintf(&s, `p=cat f=%s l=$n; if [ $z -gt 0 ] && command -v gzip >/dev/null; then p="gzip -dc" f=%s l=$z; fi; `, formatBare, formatPacked)
	fmt.Fprintf(&s, `w=; k=0; for d do k=$((k+1)); [ $k -le %d ] && continue; make "$d" || continue; [ "$w" ] && say %s "$w"; `, q.skip, answerPassed)
	// The file for SFTP is unpacked into another, even if there is nothing to
	// unpack: nobody may execute a file that the server still has open. It is made
	// here, so that the server finds it only if it shows the same files. Its hash is
	// taken as it is, which is half the work; that nothing goes wrong from there on
	// is for gzip to see, by its own checksum. What comes inline is taken by size,
	// since the rest of the input is the helper's, and its hash unpacked.
	fmt.Fprintf(&s, `true 2>/dev/null >$x.sent; say %s $h $f "$PWD/$x.sent"; m=; read m s; `, answerNeed)
	fmt.Fprintf(&s, `case $m in %s) proven $x.sent $s; $p <$x.sent >$x;; %s) rm -f $x.sent; head -c $l | $p >$x;; *) false;; esac || { rm -f $x $x.sent; say %s $k "$d"; exit 1; }; `+
		`rm -f $x.sent; say %s; [ $m = %[1]s ] || proven $x $h; mv -f $x $h/vxhelper && go; rm -f $x; w="$w$d cannot be written to; "; done; `, wordStored, wordInline, answerFull, answerGot)
	fmt.Fprintf(&s, `say %s $i "$w"`, answerNowhere)
	return s.String()
}

func (q request) rootScript() string {
	var s strings.Builder
	fmt.Fprintf(&s, `t=%s f=$1 h=$2 n=$3 z=0 i=0; x=$h/%s; `, q.token, q.temp)
	s.WriteString(common)
	s.WriteString(places)
	s.WriteString(q.drop())
	fmt.Fprintf(&s, `for d do has "$d" && %s; done; `, q.serve(` --source "$f"`))
	// No more is read than there should be: the file may be anything by now.
	fmt.Fprintf(&s, `w=; for d do make "$d" || continue; if head -c $n "$f" >$x; then proven $x $h; mv -f $x $h/vxhelper && %s; fi; rm -f $x; w="$w$d cannot be written to; "; done; `, q.serve(` --source "$f"`))
	fmt.Fprintf(&s, `say %s 0 "$w"`, answerNowhere)
	return s.String()
}

// drop removes the cached helper if that is to be.
func (q request) drop() string {
	if !q.fresh {
		return ""
	}
	return `for d do own "$d" && rm -f $h/vxhelper; done; `
}

// serve starts the helper.
func (q request) serve(more string) string {
	if q.lab != "" {
		more = " --lab " + q.lab + more
	}
	return fmt.Sprintf("exec ./$h/vxhelper serve --token %s --lease %s%s", q.token, q.lease, more)
}

// nowhere is the error for a host where no place for the helper was found.
func nowhere(details string) *hostapi.Error {
	uid, reasons, _ := strings.Cut(details, " ")
	who := "the user's"
	if uid == "0" {
		who = "root's"
	}
	return hostapi.Errorf(hostapi.KindHelper, "one of them must be writable, belong to that user alone (mode 0700), have room for some MB and not be mounted noexec; XDG_CACHE_HOME names another",
		"start the helper: no place for it in %s cache: %s", who, strings.TrimSuffix(strings.TrimSpace(reasons), ";"))
}
