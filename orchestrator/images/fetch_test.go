package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

// web serves one file and notes what it was asked for.
type web struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // the Range of each request

	data    []byte
	tag     string                                                        // ETag
	answer  func(n int, w http.ResponseWriter, r *http.Request) (ok bool) // instead of the file; n counts from 0
	noRange bool
}

func serve(t *testing.T, data []byte) *web {
	s := &web{data: data, tag: `"one"`}
	s.Server = httptest.NewServer(http.HandlerFunc(s.handle))
	t.Cleanup(s.Close)
	return s
}

func (s *web) handle(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := len(s.asked)
	s.asked = append(s.asked, r.Header.Get("Range"))
	data, tag, answer := s.data, s.tag, s.answer
	s.mu.Unlock()
	if answer != nil && answer(n, w, r) {
		return
	}
	if tag != "" {
		w.Header().Set("ETag", tag)
	}
	if s.noRange {
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "a.img", time.Time{}, bytes.NewReader(data))
}

func (s *web) ranges() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *web) image() inventory.Image {
	return inventory.Image{Name: "a", URL: s.URL + "/a.img"}
}

// breakOff answers with the file's beginning and ends the connection.
func (s *web) breakOff(w http.ResponseWriter, from, to int) {
	if s.tag != "" {
		w.Header().Set("ETag", s.tag)
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(s.data)-from))
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(s.data)-1, len(s.data)))
		w.WriteHeader(http.StatusPartialContent)
	}
	w.Write(s.data[from:to])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func fast(t *testing.T) Cache {
	return Cache{Dir: filepath.Join(t.TempDir(), "cache"), pause: time.Millisecond}
}

func mustResolve(t *testing.T, c Cache, image inventory.Image, want []byte) {
	t.Helper()
	s, err := c.Resolve(t.Context(), image, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(t, s, want)
	if s.Path != c.whole(s.SHA256) {
		t.Errorf("the image is at %s, not under its sum", s.Path)
	}
}

func TestAURLIsFetchedOnce(t *testing.T) {
	for name, sum := range map[string]string{"with a sum": sumOf(pattern(100_000)), "without": ""} {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, pattern(100_000)), fast(t)
			image := s.image()
			image.SHA256 = sum
			var last [2]int64
			if _, err := c.Resolve(t.Context(), image, func(done, total int64) { last = [2]int64{done, total} }); err != nil {
				t.Fatal(err)
			}
			if last != [2]int64{100_000, 100_000} {
				t.Errorf("the last progress is %v", last)
			}
			mustResolve(t, c, image, s.data)
			if got := s.ranges(); len(got) != 1 {
				t.Errorf("the server was asked %q, want once", got)
			}
			if diff := cmp.Diff([]string{sumOf(s.data) + ".img"}, left(t, c)); diff != "" {
				t.Errorf("cache (-want +got):\n%s", diff)
			}
			info, err := os.Stat(c.whole(sumOf(s.data)))
			if err != nil || info.Mode().Perm() != 0o400 {
				t.Errorf("the cached image is %v, %v; want it read-only", info.Mode(), err)
			}
		})
	}
}

func TestAnImageInTheCacheServesEveryURLOfItsSum(t *testing.T) {
	s, c := serve(t, pattern(1000)), fast(t)
	mustResolve(t, c, s.image(), s.data)
	mustResolve(t, c, inventory.Image{URL: "http://127.0.0.1:1/nobody/listens.img", SHA256: sumOf(s.data)}, s.data)
}

func TestAFetchGoesOnWhereItBrokeOff(t *testing.T) {
	s, c := serve(t, pattern(300_000)), fast(t)
	s.answer = func(n int, w http.ResponseWriter, r *http.Request) bool {
		switch n {
		case 0:
			s.breakOff(w, 0, 100_000)
		case 1:
			s.breakOff(w, 100_000, 200_000)
		}
		return false
	}
	mustResolve(t, c, s.image(), s.data)
	if diff := cmp.Diff([]string{"", "bytes=100000-", "bytes=200000-"}, s.ranges()); diff != "" {
		t.Errorf("ranges asked for (-want +got):\n%s", diff)
	}
}

// half leaves the first half of the image behind, as a run that was cut does.
func half(t *testing.T, s *web, c Cache, image inventory.Image) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.answer = func(n int, w http.ResponseWriter, r *http.Request) bool {
		s.breakOff(w, 0, len(s.data)/2)
		return true
	}
	_, err := c.Resolve(ctx, image, func(done, total int64) {
		if done == int64(len(s.data)/2) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled fetch gave %v", err)
	}
	s.mu.Lock()
	s.answer, s.asked = nil, nil
	s.mu.Unlock()
	if names := left(t, c); len(names) != 1 || !strings.HasPrefix(names[0], "part-") {
		t.Fatalf("the cut fetch left %q, want a part", names)
	}
}

func TestALaterRunGoesOnWhereAnEarlierWasCut(t *testing.T) {
	s, c := serve(t, pattern(300_000)), fast(t)
	half(t, s, c, s.image())
	mustResolve(t, c, s.image(), s.data)
	if diff := cmp.Diff([]string{"bytes=150000-"}, s.ranges()); diff != "" {
		t.Errorf("ranges asked for (-want +got):\n%s", diff)
	}
}

func TestAFileThatChangedMeanwhileIsFetchedAnew(t *testing.T) {
	for name, change := range map[string]func(*web, *inventory.Image){
		"another ETag": func(s *web, _ *inventory.Image) { s.tag = `"two"` },
		"no ETag, but a sum": func(s *web, i *inventory.Image) {
			s.tag = ""
			i.SHA256 = sumOf(s.data)
		},
		"shorter": func(s *web, i *inventory.Image) {
			s.tag = ""
			s.data = s.data[:1000]
			i.SHA256 = sumOf(s.data)
		},
		"no ranges": func(s *web, _ *inventory.Image) { s.noRange = true },
	} {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, pattern(300_000)), fast(t)
			image := s.image()
			if strings.HasPrefix(name, "no ETag") || name == "shorter" {
				s.tag = ""
				image.SHA256 = strings.Repeat("0", 64) // so that it may go on without
			}
			half(t, s, c, image)
			s.data = slices.Clone(s.data)
			s.data[7]++
			change(s, &image)
			mustResolve(t, c, image, s.data)
		})
	}
}

func TestAPartThatIsWholeAlreadyIsKept(t *testing.T) {
	s, c := serve(t, pattern(1000)), fast(t)
	image := s.image()
	image.SHA256 = sumOf(s.data)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.partPath(image), s.data, 0o600); err != nil {
		t.Fatal(err)
	}
	mustResolve(t, c, image, s.data)
}

func TestAWrongImageOfTheWebIsNotKept(t *testing.T) {
	s, c := serve(t, pattern(1000)), fast(t)
	image := s.image()
	image.SHA256 = sumOf([]byte("another"))
	_, err := c.Resolve(t.Context(), image, nil)
	if !errors.Is(err, hostapi.ErrInvalid) || !strings.Contains(err.Error(), sumOf(s.data)) || !strings.Contains(err.Error(), image.SHA256) {
		t.Errorf("got %v, want both sums", err)
	}
	if names := left(t, c); len(names) > 0 {
		t.Errorf("the cache has %q, want nothing", names)
	}
	if got := s.ranges(); len(got) != 1 {
		t.Errorf("the server was asked %d times for a wrong file, want once", len(got))
	}
	s.data = []byte("another")
	mustResolve(t, c, image, s.data)
}

func TestASpoiltImageInTheCacheIsFetchedAgain(t *testing.T) {
	s, c := serve(t, pattern(1000)), fast(t)
	mustResolve(t, c, s.image(), s.data)
	path := c.whole(sumOf(s.data))
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	writeOld(t, path, []byte("spoilt"), time.Hour)
	mustResolve(t, c, s.image(), s.data)
}

func TestRefusalsOfAServer(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		times  int // that it is answered
		kind   string
		want   string // empty: it goes well in the end
		asked  int
	}{
		"not found":       {404, 9, "", "404 Not Found", 1},
		"login":           {401, 9, "", "401 Unauthorized", 1},
		"overloaded":      {503, 2, "", "", 3},
		"overloaded long": {503, 9, "", "503 Service Unavailable", 3},
		"too many":        {429, 1, "", "", 2},
		"a web page":      {200, 9, "text/html; charset=utf-8", "a web page", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, cache := serve(t, pattern(1000)), fast(t)
			s.answer = func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n >= c.times {
					return false
				}
				if c.kind != "" {
					w.Header().Set("Content-Type", c.kind)
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, "nothing to see")
				return true
			}
			_, err := cache.Resolve(t.Context(), s.image(), nil)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := len(s.ranges()); got != c.asked {
				t.Errorf("the server was asked %d times, want %d", got, c.asked)
			}
		})
	}
}

func TestAServerThatFallsSilentIsAskedAgain(t *testing.T) {
	s, c := serve(t, pattern(300_000)), fast(t)
	c.stall = 3 * time.Second
	s.answer = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n > 0 {
			return false
		}
		w.Header().Set("ETag", s.tag)
		w.Header().Set("Content-Length", fmt.Sprint(len(s.data)))
		w.Write(s.data[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	mustResolve(t, c, s.image(), s.data)
	if diff := cmp.Diff([]string{"", "bytes=1000-"}, s.ranges()); diff != "" {
		t.Errorf("ranges asked for (-want +got):\n%s", diff)
	}
}

func TestAServerThatNeverAnswersIsGivenUp(t *testing.T) {
	s, c := serve(t, nil), fast(t)
	c.stall = 20 * time.Millisecond
	s.answer = func(n int, w http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	if _, err := c.Resolve(t.Context(), s.image(), nil); err == nil || !strings.Contains(err.Error(), "nothing came for 20ms") {
		t.Errorf("got %v, want that nothing came", err)
	}
}

func TestTwoAtOnceFetchOnce(t *testing.T) {
	s, c := serve(t, pattern(300_000)), fast(t)
	s.answer = func(int, http.ResponseWriter, *http.Request) bool {
		time.Sleep(20 * time.Millisecond) // so that they do meet
		return false
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			source, err := c.Resolve(t.Context(), s.image(), nil)
			if err != nil || source.SHA256 != sumOf(s.data) {
				t.Errorf("got %+v, %v", source, err)
			}
		})
	}
	all.Wait()
	if got := s.ranges(); len(got) != 1 {
		t.Errorf("the server was asked %d times, want once", len(got))
	}
	if names := left(t, c); len(names) != 1 {
		t.Errorf("the cache has %q, want the image alone", names)
	}
}

func TestWaitingForAnotherFetchEndsWithTheContext(t *testing.T) {
	s, c := serve(t, pattern(1000)), fast(t)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	part, err := c.lockPart(t.Context(), s.image())
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Resolve(ctx, s.image(), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestNoPasswordOfAURLIsShown(t *testing.T) {
	s := serve(t, pattern(1000))
	secret := strings.Replace(s.URL, "http://", "http://me:s3cret@", 1)
	for name, url := range map[string]string{
		"wrong sum":       secret + "/a.img?token=s3cret",
		"nobody there":    "http://me:s3cret@127.0.0.1:1/a.img?token=s3cret",
		"no such machine": "http://me:s3cret@[::1%25none]:1/a.img",
	} {
		t.Run(name, func(t *testing.T) {
			c := fast(t)
			_, err := c.Resolve(t.Context(), inventory.Image{Name: "a", URL: url, SHA256: strings.Repeat("0", 64)}, nil)
			if err == nil || strings.Contains(err.Error()+hostapi.AsError(err).Hint, "s3cret") {
				t.Errorf("got %v, want an error without the password", err)
			}
			_ = filepath.Walk(c.Dir, func(path string, info os.FileInfo, err error) error {
				if err == nil && info.Mode().IsRegular() {
					if text, _ := os.ReadFile(path); bytes.Contains(text, []byte("s3cret")) {
						t.Errorf("the password is in %s", path)
					}
				}
				return nil
			})
		})
	}
}
