package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

// fruitless is after how many tries that brought nothing a fetch is given up.
const fruitless = 3

// fetched says what a URL gave when it had no sum of its own.
type fetched struct {
	URL    string `json:"url"` // without a password
	SHA256 string `json:"sha256"`
}

// version is what a server calls the file that a part is of. Only with it, or
// with a sum to check at the end, is there something to go on from.
type version struct {
	Tag  string `json:"tag,omitempty"`  // a strong ETag
	Time string `json:"time,omitempty"` // Last-Modified
}

// web gives an image from the cache, or fetches it.
func (c Cache) web(ctx context.Context, image inventory.Image, progress Progress) (Source, error) {
	if source, ok, err := c.cached(ctx, image, progress); ok || err != nil {
		return source, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return Source{}, err
	}
	part, err := c.lockPart(ctx, image)
	if err != nil {
		return Source{}, err
	}
	defer part.Close()
	if source, ok, err := c.cached(ctx, image, progress); ok || err != nil { // whoever had the lock has fetched it
		return source, errors.Join(err, os.Remove(part.Name()))
	}
	// A part of unknown descent may not go together with what comes now. That is
	// seen at the end only, and then everything is fetched anew.
	resumed, err := c.download(ctx, image, part, progress)
	if err != nil {
		return Source{}, fmt.Errorf("fetch %s: %w", shown(image.URL), err)
	}
	source, err := c.keep(ctx, image, part)
	if errors.Is(err, hostapi.ErrInvalid) && resumed {
		if part, err = c.lockPart(ctx, image); err != nil {
			return Source{}, err
		}
		defer part.Close()
		if _, err := c.download(ctx, image, part, progress); err != nil {
			return Source{}, fmt.Errorf("fetch %s: %w", shown(image.URL), err)
		}
		source, err = c.keep(ctx, image, part)
	}
	return source, err
}

// cached gives an image that was fetched before.
func (c Cache) cached(ctx context.Context, image inventory.Image, progress Progress) (Source, bool, error) {
	sum := image.SHA256
	if sum == "" {
		var before fetched
		if !c.readJSON(c.record(image), &before) {
			return Source{}, false, nil
		}
		sum = before.SHA256
	}
	source, err := c.sum(ctx, c.whole(sum), progress)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Source{}, false, nil
	case err != nil:
		return Source{}, false, err
	case source.SHA256 != sum: // spoilt
		return Source{}, false, os.Remove(source.Path)
	}
	return source, true, nil
}

func (c Cache) whole(sum string) string              { return filepath.Join(c.Dir, filepath.Base(sum)+".img") }
func (c Cache) record(image inventory.Image) string  { return "url-" + digest(image.URL) + ".json" }
func (c Cache) version(image inventory.Image) string { return "part-" + digest(image.URL) + ".json" }
func (c Cache) partPath(image inventory.Image) string {
	return filepath.Join(c.Dir, "part-"+digest(image.URL))
}

// lockPart opens what there is of an image that is being fetched, for this call
// alone. It waits for another that has it.
func (c Cache) lockPart(ctx context.Context, image inventory.Image) (*os.File, error) {
	path := c.partPath(image)
	for {
		part, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(part.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			mine, err := part.Stat()
			named, there := os.Stat(path)
			if err == nil && there == nil && os.SameFile(mine, named) {
				return part, nil
			}
		}
		_ = part.Close()
		if err == nil {
			continue // it was finished, or thrown away, meanwhile
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// keep checks a whole part and gives it its name in the cache, under which
// nothing half-made is ever found. A wrong one is thrown away: ErrInvalid.
func (c Cache) keep(ctx context.Context, image inventory.Image, part *os.File) (Source, error) {
	info, err := part.Stat()
	if err != nil {
		return Source{}, err
	}
	sum, err := hash(ctx, io.NewSectionReader(part, 0, info.Size()), info.Size(), func(int64, int64) {})
	if err != nil {
		return Source{}, err
	}
	if image.SHA256 != "" && sum != image.SHA256 {
		return Source{}, errors.Join(wrongSum(shown(image.URL), sum, image.SHA256), os.Remove(part.Name()))
	}
	path := c.whole(sum)
	if err := errors.Join(part.Chmod(0o400), part.Sync()); err != nil {
		return Source{}, err
	}
	if err := os.Rename(part.Name(), path); err != nil {
		return Source{}, err
	}
	if err := c.writeJSON(c.record(image), fetched{shown(image.URL), sum}); err != nil {
		return Source{}, err
	}
	if err := os.Remove(filepath.Join(c.Dir, c.version(image))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Source{}, err
	}
	return Source{SHA256: sum, Size: info.Size(), Path: path}, nil
}

// download brings part to the whole file, in as many requests as it takes. It
// tells whether some of it was there from an earlier run.
func (c Cache) download(ctx context.Context, image inventory.Image, part *os.File, progress Progress) (resumed bool, err error) {
	pause := c.pause
	if pause == 0 {
		pause = time.Second
	}
	first, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	for failures := 0; ; {
		before, _ := part.Seek(0, io.SeekEnd)
		err := c.request(ctx, image, part, progress)
		var final *finalError
		switch after, _ := part.Seek(0, io.SeekEnd); {
		case err == nil:
			return first > 0, nil
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case errors.As(err, &final):
			return false, final.error
		case after > before:
			failures = 0
		default:
			failures++
		}
		if failures == fruitless {
			return false, err
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// finalError is one that trying again does not help.
type finalError struct{ error }

func final(hint, format string, args ...any) error {
	return &finalError{&hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}}
}

// request asks for what part lacks and writes it.
func (c Cache) request(ctx context.Context, image inventory.Image, part *os.File, progress Progress) error {
	stall := c.stall
	if stall == 0 {
		stall = 30 * time.Second
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("nothing came for %v", stall)) })
	defer watch.Stop()

	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	req, err := c.asking(ctx, image, have)
	if err != nil {
		return err
	}
	res, err := c.client().Do(req)
	if err != nil {
		return cause(ctx, err)
	}
	defer res.Body.Close()

	total := res.ContentLength
	switch res.StatusCode {
	case http.StatusOK:
		have = 0
		if err := c.beginAnew(image, part, res); err != nil {
			return err
		}
	case http.StatusPartialContent:
		var from, to int64
		if n, _ := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &total); n < 2 || from != have {
			return errors.Join(errors.New("the server sent another part than it was asked for"), part.Truncate(0))
		} else if n == 2 {
			total = -1
		}
	case http.StatusRequestedRangeNotSatisfiable:
		// All of it is here, or of an older file.
		if n, _ := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes */%d", &total); n == 1 && total == have {
			return nil
		}
		return errors.Join(errors.New("the file is shorter than it was"), part.Truncate(0))
	default:
		return refusal(res)
	}
	body := &counted{Reader: res.Body, read: func(n int) {
		watch.Reset(stall)
		have += int64(n)
		progress(have, total)
	}}
	if _, err := io.Copy(part, body); err != nil {
		return cause(ctx, err)
	}
	if total >= 0 && have != total {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// asking is the request for what comes after the bytes that are here.
func (c Cache) asking(ctx context.Context, image inventory.Image, have int64) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, image.URL, nil)
	if err != nil {
		return nil, final("", "%s is no URL to fetch", shown(image.URL))
	}
	var of version
	if have > 0 && (c.readJSON(c.version(image), &of) && of != version{} || image.SHA256 != "") {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		if of.Tag != "" {
			req.Header.Set("If-Range", of.Tag)
		} else if of.Time != "" {
			req.Header.Set("If-Range", of.Time)
		}
	}
	return req, nil
}

// beginAnew empties part for the file that the server has now.
func (c Cache) beginAnew(image inventory.Image, part *os.File, res *http.Response) error {
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind == "text/html" {
		return final("look at the URL in a browser: it may ask for a login, or be that of the page about the image", "the server sent a web page, not an image")
	}
	if err := part.Truncate(0); err != nil {
		return err
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	of := version{Tag: res.Header.Get("ETag"), Time: res.Header.Get("Last-Modified")}
	if strings.HasPrefix(of.Tag, "W/") {
		of.Tag = "" // does not promise the same bytes (RFC 9110 §8.8.1)
	}
	return c.writeJSON(c.version(image), of)
}

func refusal(res *http.Response) error {
	err := fmt.Errorf("the server answered %s", res.Status)
	if res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout {
		return err // may pass
	}
	return final("look whether the URL is right, and whether it needs a login", "%v", err)
}

// cause is why a request ended: what the watch or the caller says, if anything.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var about *url.Error
	if errors.As(err, &about) {
		return about.Err // the URL is told by the caller, without its password
	}
	return err
}

type counted struct {
	io.Reader
	read func(n int)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.read(n)
	}
	return n, err
}

func (c Cache) client() *http.Client {
	if c.Client != nil {
		return c.Client
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       10 * time.Second,
		// What the server packs on the way has neither the file's length nor
		// its ranges.
		DisableCompression: true,
	}}
}

// shown is a URL fit for messages.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the URL"
	}
	u.RawQuery = "" // may hold a token
	return u.Redacted()
}
