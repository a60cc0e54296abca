package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "vxorch"

// TestImportsGoDown holds the code against the table in the README. It parses
// the files itself: a run of `go list` would be served from the test cache.
func TestImportsGoDown(t *testing.T) {
	root := filepath.Join("..", "..")
	floors := readFloors(t, filepath.Join(root, "README.md"))
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && file != root) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		seen[pkg] = true
		for _, problem := range checkImports(t, file, pkg, floors) {
			t.Error(problem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range floors {
		if !seen[pkg] {
			t.Errorf("README.md gives %s a floor, but there is no such package", pkg)
		}
	}
}

func TestImportsUpwardsAndSidewaysAreFound(t *testing.T) {
	floors := map[string]int{"low": 0, "beside": 1, "here": 1, "high": 2}
	for name, c := range map[string]struct {
		pkg, imports string
		want         int
	}{
		"down is fine":             {"here", `import "vxorch/low"`, 0},
		"std and others are fine":  {"here", `import ("os"; "golang.org/x/sync/errgroup")`, 0},
		"sideways":                 {"here", `import "vxorch/beside"`, 1},
		"upwards":                  {"here", `import "vxorch/high"`, 1},
		"package without a floor":  {"nowhere", `import "os"`, 1},
		"imported without a floor": {"here", `import "vxorch/nowhere"`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.go")
			if err := os.WriteFile(file, []byte("package x\n"+c.imports), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := checkImports(t, file, c.pkg, floors); len(got) != c.want {
				t.Errorf("checkImports found %q, want %d problems", got, c.want)
			}
		})
	}
}

// checkImports lists what is wrong with the imports of file, a part of pkg.
func checkImports(t *testing.T, file, pkg string, floors map[string]int) (problems []string) {
	t.Helper()
	floor, ok := floors[pkg]
	if !ok {
		return []string{file + ": package " + pkg + " has no floor in README.md"}
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		inner, ours := strings.CutPrefix(imported, module+"/")
		if !ours {
			continue
		}
		below, ok := floors[inner]
		switch {
		case !ok:
			problems = append(problems, file+": imports "+inner+", which has no floor in README.md")
		case below >= floor:
			problems = append(problems, file+": "+pkg+" (floor "+strconv.Itoa(floor)+") imports "+inner+" (floor "+strconv.Itoa(below)+")")
		}
	}
	return problems
}

// readFloors reads the rows `| floor | package, package | …` of the README.
func readFloors(t *testing.T, readme string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\| (`[^|]+) \\|")
	name := regexp.MustCompile("`([^`]+)`")
	floors := map[string]int{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		floor, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, pkg := range name.FindAllStringSubmatch(match[2], -1) {
			floors[path.Clean(pkg[1])] = floor
		}
	}
	if len(floors) == 0 {
		t.Fatalf("%s has no table of floors", readme)
	}
	return floors
}
