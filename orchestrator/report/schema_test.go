package report

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	var text bytes.Buffer
	if err := WriteSchema(&text); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(&text)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("result.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("result.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func asJSON(t *testing.T, r *Result) any {
	t.Helper()
	var text bytes.Buffer
	if err := WriteJSON(&text, r); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(&text)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func TestJSONFollowsItsSchema(t *testing.T) {
	s := compiled(t)
	all := cases()
	all["status"] = &Result{Version: 1, Objects: []Object{{State: Drifted, Changes: []Change{{"mtu", "1", "2"}}}}}
	all["left"] = &Result{Version: 1, Left: []Left{{Name: "a", Since: time.Unix(1, 0).UTC()}}}
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			if r.Result == "" {
				r.Result = Pass
			}
			if err := s.Validate(asJSON(t, r)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSchemaRefusesWhatIsNotAResult(t *testing.T) {
	s := compiled(t)
	for name, spoil := range map[string]func(*Result){
		"another version":     func(r *Result) { r.Version = 2 },
		"an unknown result":   func(r *Result) { r.Result = "so-so" },
		"a host's result":     func(r *Result) { r.Hosts[0].Result = Pass },
		"a stage's result":    func(r *Result) { r.Hosts[0].Stages[0].Result = Fail },
		"a probe's result":    func(r *Result) { r.Probes[0].Result = OK },
		"a time that runs":    func(r *Result) { r.Seconds = -1 },
		"an impossible VNI":   func(r *Result) { r.Topology.Networks[0].VNI = 1 << 24 },
		"an unknown severity": func(r *Result) { r.Findings = []Finding{{Severity: "bad"}} },
	} {
		t.Run(name, func(t *testing.T) {
			r := passedRun()
			spoil(r)
			if s.Validate(asJSON(t, r)) == nil {
				t.Error("it is valid")
			}
		})
	}
}

// The schema is written by hand for its descriptions: this keeps it complete.
func TestSchemaHasEveryField(t *testing.T) {
	var document map[string]any
	if err := json.Unmarshal([]byte(schema), &document); err != nil {
		t.Fatal(err)
	}
	definitions := document["$defs"].(map[string]any)
	compare(t, "result", reflect.TypeFor[Result](), document)
	for name, of := range map[string]reflect.Type{
		"host": reflect.TypeFor[Host](), "stage": reflect.TypeFor[Stage](), "probe": reflect.TypeFor[Probe](), "finding": reflect.TypeFor[Finding](),
		"gate": reflect.TypeFor[Gate](), "left": reflect.TypeFor[Left](), "topology": reflect.TypeFor[Topology](), "network": reflect.TypeFor[Network](),
		"endpoint": reflect.TypeFor[Endpoint](), "underlay": reflect.TypeFor[Underlay](), "object": reflect.TypeFor[Object](), "change": reflect.TypeFor[Change](),
	} {
		definition, _ := definitions[name].(map[string]any)
		compare(t, name, of, definition)
		delete(definitions, name)
	}
	if len(definitions) > 0 {
		t.Errorf("definitions of nothing: %v", definitions)
	}
}

// compare holds a definition's names, and which of them are required, against a
// struct's tags.
func compare(t *testing.T, name string, of reflect.Type, definition map[string]any) {
	t.Helper()
	var want, always []string
	for i := range of.NumField() {
		tag, optional, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		want = append(want, tag)
		if optional == "" {
			always = append(always, tag)
		}
	}
	var got, required []string
	properties, _ := definition["properties"].(map[string]any)
	for property := range properties {
		got = append(got, property)
	}
	list, _ := definition["required"].([]any)
	for _, property := range list {
		required = append(required, property.(string))
	}
	for _, s := range [][]string{want, always, got, required} {
		slices.Sort(s)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("properties of %s (-model +schema):\n%s", name, diff)
	}
	if diff := cmp.Diff(always, required); diff != "" {
		t.Errorf("what %s always has (-model +schema):\n%s", name, diff)
	}
}
