package main

import (
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// follows SCHEMA FILE holds a JSON file against a JSON Schema.
func follows(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: follows SCHEMA FILE")
	}
	read := func(file string) any {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(ts.ReadFile(file)))
		ts.Check(err)
		return document
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	ts.Check(compiler.AddResource("schema.json", read(args[0])))
	schema, err := compiler.Compile("schema.json")
	ts.Check(err)
	ts.Check(schema.Validate(read(args[1])))
}
