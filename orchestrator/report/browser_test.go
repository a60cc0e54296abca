package report

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser starts a headless Chromium that keeps to itself.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(need(t, "chromium", "chromium-browser", "google-chrome")), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1440, 1000), chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		// Whatever it would ask for beyond the page has nowhere to go.
		chromedp.Flag("proxy-server", "127.0.0.1:9"), chromedp.Flag("proxy-bypass-list", "<-loopback>"))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// visit is a page in a tab of its own, with what it complained of and asked for.
type visit struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	complain []string
}

func open(t *testing.T, browser context.Context, r *Result, scheme string) *visit {
	t.Helper()
	var text bytes.Buffer
	if err := WriteHTML(&text, r); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	v := &visit{t: t, ctx: ctx}
	url := "file://" + file
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			v.complaint("console: %s, %d values", e.Type, len(e.Args))
		case *runtime.EventExceptionThrown:
			v.complaint("exception: %s", e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			v.complaint("log: %s", e.Entry.Text)
		case *network.EventRequestWillBeSent:
			if e.Request.URL != url && !strings.HasPrefix(e.Request.URL, "data:") {
				v.complaint("request of %s", e.Request.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	call(v, network.Enable, network.EnableParams{})
	call(v, log.Enable, cdp.Empty{})
	v.scheme(scheme)
	v.do(chromedp.Navigate(url))
	return v
}

// call sends the browser a command.
func call[P, R any](v *visit, command cdp.Command[P, R], params P) {
	v.t.Helper()
	if _, err := chromedp.Call(v.ctx, command, params); err != nil {
		v.t.Fatal(err)
	}
}

// scheme has the page shown light or dark.
func (v *visit) scheme(name string) {
	v.t.Helper()
	call(v, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// choose chooses an option of a filter, as a person's choice tells the page.
func (v *visit) choose(filter, option string) {
	v.t.Helper()
	v.eval(fmt.Sprintf(`(() => { const s = document.querySelector("select[name=%s]"); s.value = %q; s.dispatchEvent(new Event("change", {bubbles: true})); })()`, filter, option))
}

func (v *visit) complaint(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.complain = append(v.complain, fmt.Sprintf(format, args...))
}

func (v *visit) do(actions ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, actions...); err != nil {
		v.t.Fatal(err)
	}
}

// eval gives what an expression comes to in the page.
func (v *visit) eval(expression string) any {
	v.t.Helper()
	got, err := chromedp.Run(v.ctx, chromedp.Evaluate[any](expression))
	if err != nil {
		v.t.Fatalf("%s: %v", expression, err)
	}
	return got
}

// expect waits for an expression to come to want: what a click or a key sets off
// comes when the browser finds the time.
func (v *visit) expect(expression string, want any) {
	v.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got := v.eval(expression)
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if time.Now().After(deadline) {
			v.t.Errorf("%s = %v, want %v", expression, got, want)
			return
		}
	}
}

// says expects an element to have that text in it.
func (v *visit) says(selector, text string) {
	v.t.Helper()
	v.expect(fmt.Sprintf(`document.querySelector(%q).innerText.includes(%q)`, selector, text), true)
}

// screenshots is where pictures of the pages are kept, for people to look at.
var screenshots = os.Getenv("VXORCH_SCREENSHOTS")

// keep takes a picture for people alone.
func (v *visit) keep(name string) {
	if screenshots != "" {
		v.shot(name)
	}
}

// shot takes a picture of the whole page.
func (v *visit) shot(name string) []byte {
	v.t.Helper()
	v.eval(`scrollTo(0, 0)`)
	picture, err := chromedp.Run(v.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		v.t.Fatal(err)
	}
	if screenshots != "" {
		if err := os.WriteFile(filepath.Join(screenshots, name+".png"), picture, 0o600); err != nil {
			v.t.Error(err)
		}
	}
	return picture
}

func (v *visit) quiet() {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.complain {
		v.t.Error(c)
	}
}

const shownCells = `[...document.querySelectorAll("td[data-p]")].filter(td => td.checkVisibility() && !td.classList.contains("off")).length`

func TestPageInABrowser(t *testing.T) {
	b := browser(t)
	t.Run("a small lab", func(t *testing.T) {
		v := open(t, b, smallRun(), "light")
		v.expect(`document.querySelectorAll(".map .host").length`, 2)
		v.expect(`document.querySelectorAll(".map .end").length`, 4)
		v.expect(shownCells, 14)

		v.do(chromedp.Click(chromedp.CSS(`td.partly`)))
		for _, want := range []string{"cn1 (host1) → cn2 (host2)", "ping pass", "mtu fail", "0 of 3 answered"} {
			v.says("#detail", want)
		}
		// By keyboard on to the next cell, and over the diagonal.
		v.do(chromedp.KeyEvent(kb.ArrowRight))
		v.expect(`document.querySelector("#detail h3").textContent`, "cn1 (host1) → vm2 (host2)")
		v.expect(`document.querySelectorAll(".matrix:nth-of-type(2) td[tabindex='0']").length`, 1)

		v.choose("stage", "proof:vtep")
		v.expect(shownCells, 2)
		v.expect(`document.getElementById("shown").textContent`, "2 of 15 probes")
		v.do(chromedp.Click(chromedp.CSS(`button[type=reset]`)))
		v.expect(shownCells, 14)
		v.do(chromedp.Click(chromedp.CSS(`input[name=failed]`)))
		v.expect(shownCells, 1)
		v.do(chromedp.Click(chromedp.CSS(`input[name=failed]`)))
		v.expect(shownCells, 14)

		light := v.shot("small-light")
		v.quiet()
		dark := open(t, b, smallRun(), "dark")
		if brightness(t, light) < 0.7 || brightness(t, dark.shot("small-dark")) > 0.3 {
			t.Error("the schemes are not light and dark")
		}
		dark.quiet()
	})
	t.Run("64 endpoints on 32 hosts", func(t *testing.T) {
		v := open(t, b, largeRun(), "light")
		v.expect(shownCells, 64*63)
		v.expect(`document.documentElement.scrollWidth <= innerWidth`, true)
		v.keep("large-light")
		// A host of the topology is a button.
		v.do(chromedp.Focus(chromedp.CSS(`.map .host[data-host=node07]`)), chromedp.KeyEvent(kb.Enter))
		v.expect(`document.querySelector("select[name=host]").value`, "node07")
		v.expect(shownCells, 2*2*62+2)
		v.expect(`document.querySelector(".map .host[data-host=node07]").getAttribute("aria-pressed")`, true)
		v.expect(`[...document.querySelectorAll(".timeline .row[data-host]")].filter(e => e.checkVisibility()).length`, 1)
		v.do(chromedp.Click(chromedp.CSS(`input[name=failed]`)))
		v.expect(shownCells, 4)
		v.do(chromedp.Click(chromedp.CSS(`#table summary`)))
		v.expect(`document.querySelectorAll("#rows tbody tr").length`, 4)
		v.keep("large-filtered")
		v.quiet()
		dark := open(t, b, largeRun(), "dark")
		dark.keep("large-dark")
		dark.quiet()
	})
	t.Run("checks and networks that are not apart", func(t *testing.T) {
		v := open(t, b, leakedRun(), "light")
		v.says(".problems", "bridges lu-br0 and red are joined by leak0")
		v.says(".problems", "cn2 (host2) in lu-br0 → red2 (host2) in red 10.9.0.11: it answers")
		v.do(chromedp.Click(chromedp.CSS(`#table summary`)))
		v.expect(`document.querySelectorAll("#rows tbody tr").length`, 7)
		v.says("#rows", "lu-br0 → red")
		v.choose("stage", "proof:isolation")
		v.expect(`document.querySelectorAll("#rows tbody tr").length`, 3)
		v.keep("leaked")
		v.quiet()
		v = open(t, b, checkedRun(), "dark")
		v.do(chromedp.Click(chromedp.CSS(`#table summary`)))
		v.says("#rows", "throughput 30000 ≥ 100 Mbit/s")
		v.says("#rows", "1234.568 Mbit/s")
		v.says("#rows", "fail: 93.1 Mbit/s, less than 100 Mbit/s")
		v.keep("checked")
		v.quiet()
	})
	t.Run("a narrow window", func(t *testing.T) {
		v := open(t, b, smallRun(), "light")
		v.do(chromedp.EmulateViewport(420, 900))
		v.expect(`document.documentElement.scrollWidth <= innerWidth`, true)
		v.keep("narrow")
		v.quiet()
	})
	t.Run("hostile texts", func(t *testing.T) {
		v := open(t, b, evilRun(), "light")
		v.expect(`document.querySelectorAll("script").length`, 2)
		v.expect(`document.querySelectorAll("img, iframe, object, a[href^=http]").length`, 0)
		v.do(chromedp.Click(chromedp.CSS(`td.lost`)))
		v.says("#detail", "<script>alert(1)</script>")
		v.expect(`document.querySelectorAll("#detail script, #detail img").length`, 0)
		v.quiet()
	})
	t.Run("nothing but a refusal", func(t *testing.T) {
		v := open(t, b, &Result{Version: 1, Lab: "lu", Verb: "deploy", Result: Fail, Error: "the image is not there"}, "dark")
		v.says(".problems", "the image is not there")
		v.quiet()
	})
}

// Names and roles are what a screen reader has: everything that can be reached
// by keyboard has one.
func TestPageIsAccessible(t *testing.T) {
	v := open(t, browser(t), smallRun(), "light")
	v.expect(`document.documentElement.lang`, "en")
	v.expect(`[...document.querySelectorAll("select, input, button, [tabindex], svg, table[role]")].filter(e =>
		!e.closest("[aria-hidden=true]") && !e.getAttribute("aria-label") && !e.getAttribute("aria-labelledby") && !e.labels?.length && !e.textContent.trim()).length`, 0)
	v.expect(`[...document.querySelectorAll("section")].every(s => document.getElementById(s.getAttribute("aria-labelledby")))`, true)
	v.expect(`[...document.querySelectorAll("th")].every(th => th.scope)`, true)
	v.expect(`document.querySelectorAll("h1").length`, 1)
	// Text and its ground differ enough (WCAG 2 AA), in every cell of the heat map.
	const contrast = `(() => {
		const light = c => { const [r, g, b] = c.match(/[\d.]+/g).map(x => x / 255).map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
		const low = [];
		const box = document.createElement("p");
		document.body.append(box);
		for (const name of ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "lost", "swatch partly", "badge", "badge fail", "badge crossed"]) {
			box.className = name;
			const s = getComputedStyle(box);
			const [a, b] = [light(s.color), light(s.backgroundColor)].sort((x, y) => y - x);
			if ((a + .05) / (b + .05) < 4.5) low.push(name + " " + ((a + .05) / (b + .05)).toFixed(2));
		}
		box.remove();
		return low.join(", ");
	})()`
	v.expect(contrast, "")
	v.quiet()
	v.scheme("dark")
	v.expect(contrast, "")
}

// brightness is a picture's mean, from 0 to 1.
func brightness(t *testing.T, picture []byte) float64 {
	t.Helper()
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	var sum, n float64
	for y := decoded.Bounds().Min.Y; y < decoded.Bounds().Max.Y; y += 7 {
		for x := decoded.Bounds().Min.X; x < decoded.Bounds().Max.X; x += 7 {
			r, g, b, _ := decoded.At(x, y).RGBA()
			sum += float64(r+g+b) / 3 / 0xffff
			n++
		}
	}
	return sum / n
}
