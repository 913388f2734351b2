package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func schemaAt(t *testing.T, path string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// document is JSON that this package writes, with every field set, and what its
// schema must say of it.
type document struct {
	name     string
	schema   string
	written  string
	optional []string
	free     string // path of an object whose keys are free
	objects  int    // one for each struct of the model, and the free one
}

func documents(t *testing.T) []document {
	t.Helper()
	var s Snapshot
	fill(reflect.ValueOf(&s).Elem())
	s.Schema, s.Groups[0].State = SnapshotSchema, "CLOSE"
	var d Diff
	fill(reflect.ValueOf(&d).Elem())
	d.Schema, d.Groups[0].State = DiffSchema, "CLOSE"
	return []document{{
		name: "report", schema: schemaPath, written: reportJSON(t, filled()), free: ".findings[0].states", objects: 21,
		optional: []string{"omitted", "ns_pid", "container", "name", "reason", "function", "module", "file", "line", "inlined", "requested_at", "accepted_from"},
	}, {
		name: "snapshot", schema: "../../docs/snapshot.schema.json", written: jsonOf(t, s.JSON), objects: 7,
		optional: []string{"container", "name"},
	}, {
		name: "diff", schema: "../../docs/diff.schema.json", written: jsonOf(t, d.JSON), objects: 5,
		optional: []string{"container", "name"},
	}}
}

func TestSnapshotsFollowTheSchema(t *testing.T) {
	base := baseline(t, snapshotRows(), nil)
	for written, path := range map[string]string{
		jsonOf(t, base.JSON):                             "../../docs/snapshot.schema.json",
		jsonOf(t, NewSnapshot(nil, SnapshotInfo{}).JSON): "../../docs/snapshot.schema.json",
		jsonOf(t, diffOf(t, base, later()).JSON):         "../../docs/diff.schema.json",
		jsonOf(t, diffOf(t, base, nil).JSON):             "../../docs/diff.schema.json",
	} {
		if err := schemaAt(t, path).Validate(parse(t, written)); err != nil {
			t.Errorf("%s: %v\n%s", path, err, written)
		}
	}
}

// A field that is added to the Go types and not to the schema must fail, at
// every level, and so must one that is in the schema and not in Go.
func TestSchemaIsStrict(t *testing.T) {
	for _, d := range documents(t) {
		t.Run(d.name, d.strict)
	}
}

func (d document) strict(t *testing.T) {
	sch, doc, objects := schemaAt(t, d.schema), parse(t, d.written), 0
	var visit func(path string, v any)
	visit = func(path string, v any) {
		switch v := v.(type) {
		case []any:
			for i := range v {
				visit(fmt.Sprintf("%s[%d]", path, i), v[i])
			}
		case map[string]any:
			objects++
			v["added"] = json.Number("1")
			if sch.Validate(doc) == nil {
				t.Errorf("the schema takes a field it does not know in %q", path)
			}
			delete(v, "added")
			for _, key := range slices.Sorted(maps.Keys(v)) {
				visit(path+"."+key, v[key])
				if path == d.free && d.free != "" {
					continue
				}
				value := v[key]
				delete(v, key)
				if err := sch.Validate(doc); (err == nil) != slices.Contains(d.optional, key) {
					t.Errorf("without %s.%s: %v", path, key, err)
				}
				v[key] = value
			}
		}
	}
	visit("", doc)
	if objects != d.objects {
		t.Errorf("there are %d objects, want %d", objects, d.objects)
	}
	if err := sch.Validate(doc); err != nil {
		t.Errorf("the document was not put together again: %v", err)
	}
}

// Every property that a schema names is one that Go writes.
func TestSchemaHasNoFieldOfItsOwn(t *testing.T) {
	for _, d := range documents(t) {
		data, err := os.ReadFile(d.schema)
		if err != nil {
			t.Fatal(err)
		}
		var visit func(v any)
		visit = func(v any) {
			m, _ := v.(map[string]any)
			props, _ := m["properties"].(map[string]any)
			for key := range props {
				if !strings.Contains(d.written, fmt.Sprintf("%q:", key)) {
					t.Errorf("%s has %q, which no %s has", d.schema, key, d.name)
				}
			}
			for _, sub := range m {
				visit(sub)
			}
		}
		visit(parse(t, string(data)))
	}
}
