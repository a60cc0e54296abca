package report

import (
	_ "embed"
	"io"
)

//go:embed schema.json
var schema string

// WriteSchema writes the JSON Schema of what WriteJSON writes.
func WriteSchema(w io.Writer) error {
	_, err := io.WriteString(w, schema)
	return err
}
