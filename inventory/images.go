package inventory

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

func (p *parser) readImages(n *yaml.Node) {
	list, _ := p.entries(n, "images")
	for _, e := range list {
		if len(p.lab.Images) == maxImages {
			p.errorf(e.key, "there are more than %d images", maxImages)
			return
		}
		p.readImage(e)
	}
}

func (p *parser) readImage(e entry) {
	image := Image{Name: e.key.Value}
	what := fmt.Sprintf("image %q", image.Name)
	if problem := nameProblem(image.Name, maxName); problem != "" {
		p.errorf(e.key, "image name %q %s", image.Name, problem).Hint = "images' names have letters, digits, '.', '-' and '_'"
	}
	f := p.fields(e.value, what, "file", "url", "path", "sha256", "login")
	var given []entry
	for _, key := range []string{"file", "url", "path"} {
		if source, found := f[key]; found {
			given = append(given, source)
		}
	}
	switch {
	case len(given) > 1:
		p.errorf(given[1].key, "%s and %s of %s are both given (%s)", given[1].key.Value, given[0].key.Value, what, p.at(given[0].key)).Hint = "keep one of them"
	case len(given) == 1:
		p.readSource(&image, given[0])
	case f != nil:
		p.errorf(e.key, "%s has neither file, url nor path", what).Hint =
			"say where it is: `file:` on this machine, `url:` to fetch it from, or `path:` on the hosts"
	}
	if sum, found := f["sha256"]; found {
		image.SHA256 = p.readSHA256(sum.value)
	}
	if login, found := f["login"]; found {
		image.Login = p.readLogin(login.value)
	}
	p.images[image.Name] = e.key
	p.lab.Images = append(p.lab.Images, image)
}

// readSource reads the one of file, url and path that is given.
func (p *parser) readSource(image *Image, e entry) {
	key := e.key.Value
	if key == "url" {
		image.URL = p.readURL(e.value)
		return
	}
	text, ok := p.str(e.value, key)
	switch {
	case !ok:
	case strings.ContainsFunc(text, unicode.IsControl) || strings.HasSuffix(text, "/"):
		p.errorf(e.value, "%s %q is no path of a file", key, text)
	case key == "file" && strings.Contains(text, "://"):
		p.errorf(e.value, "file is a URL").Hint = "write `url:` in place of `file:`"
	case key == "file":
		image.File = text
	case !path.IsAbs(text) || path.Clean(text) != text:
		p.errorf(e.value, "path %q is not absolute and plain", text).Hint =
			"it is on the hosts: begin with / and leave out . and .. (`file:` is for one on this machine)"
	default:
		image.Path = text
	}
}

// readURL does not show what it reads, for it may hold a password.
func (p *parser) readURL(n *yaml.Node) string {
	const example = "write it as in https://example.org/image.qcow2"
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || n.Value == "" {
		p.errorf(n, "url must be text").Hint = example
		return ""
	}
	u, err := url.Parse(n.Value)
	switch {
	case err != nil || u.Host == "" || u.Path == "" || strings.HasSuffix(u.Path, "/"):
		p.errorf(n, "url is not that of a file").Hint = example
	case u.Scheme != "http" && u.Scheme != "https":
		p.errorf(n, "url has scheme %q", u.Scheme).Hint = "http and https are known; for a file on this machine there is `file:`"
	default:
		return n.Value
	}
	return ""
}

func (p *parser) readSHA256(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		p.wrongType(n, "sha256", "text")
		return ""
	}
	sum := strings.ToLower(n.Value)
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 {
		p.errorf(n, "sha256 %q is not 64 hexadecimal digits", n.Value).Hint = "`sha256sum FILE` tells it; leave it out if nobody does"
		return ""
	}
	return sum
}

// readLogin shows nothing of what it reads but known keys.
func (p *parser) readLogin(n *yaml.Node) Login {
	const example = "write `login: {user: NAME, password: PASSWORD}`"
	if n.Kind != yaml.MappingNode {
		p.errorf(n, "login must be a mapping").Hint = example
		return Login{}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; key.Value != "user" && key.Value != "password" {
			p.errorf(key, "unknown key in login").Hint = example
			return Login{}
		}
	}
	f := p.fields(n, "login", "user", "password")
	var login Login
	if e, found := f["user"]; found {
		login.User = p.readUser(e.value)
	} else {
		p.errorf(n, "login has no user").Hint = example
	}
	if e, found := f["password"]; found {
		login.Password = p.readPassword(e.value)
	}
	return login
}

// readPassword does not show what it reads.
func (p *parser) readPassword(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!bool" || n.ShortTag() == "!!null" || n.Value == "" {
		p.errorf(n, "password must be text").Hint = "put it into quotes"
		return ""
	}
	if strings.ContainsFunc(n.Value, unicode.IsControl) {
		p.errorf(n, "password has a control character in it")
		return ""
	}
	return n.Value
}
