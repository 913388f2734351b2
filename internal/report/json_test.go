package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"sockleak/internal/event"
	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

const (
	schemaPath = "../../docs/report.schema.json"
	docPath    = "../../docs/report.md"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	return schemaAt(t, schemaPath)
}

func jsonOf(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func reportJSON(t *testing.T, r *verdict.Report) string {
	t.Helper()
	return jsonOf(t, func(w io.Writer) error { return JSON(w, r) })
}

func parse(t *testing.T, s string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// filled returns a report in which every field is set, those that were added
// after this test was written too: numbers are 1, lists have one entry.
func filled() *verdict.Report {
	var r verdict.Report
	fill(reflect.ValueOf(&r).Elem())
	r.Schema, r.Verdict = verdict.Schema, verdict.Leak
	f := &r.Findings[0]
	f.Class, f.Confidence = verdict.PeerClosed, verdict.High
	f.Origin.Quality, f.Origin.Frames[0].Kind = stack.Complete, stack.Native
	f.RequestedAt.Via, f.RequestedAt.Quality, f.RequestedAt.Frames[0].Kind = verdict.ViaLibuv, stack.Complete, stack.Node
	*f.AcceptedFrom.Via, f.AcceptedFrom.Quality, f.AcceptedFrom.Frames[0].Kind = verdict.ViaLibuv, stack.Complete, stack.Node
	last := &f.LastUse[0].Origin
	last.Quality, last.Frames[0].Kind = stack.Complete, stack.Native
	f.States = map[string]int{"CLOSE-WAIT": 1}
	f.Sockets[0].State = "CLOSE-WAIT"
	return &r
}

func fill(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(0, 0).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Int, reflect.Int32:
		v.SetInt(1)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	}
}

func TestReportsFollowTheSchema(t *testing.T) {
	reports := fixtures()
	reports["filled"] = filled()
	empty := base()
	empty.Verdict = verdict.NoLeak
	reports["empty"] = empty
	sch := schema(t)
	for name, r := range reports {
		if err := sch.Validate(parse(t, reportJSON(t, r))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaKnowsEveryState(t *testing.T) {
	sch := schema(t)
	for typ, proto := range map[uint16]uint16{stream: tcp, dgram: 17} {
		for state := range uint8(16) {
			r := filled()
			name := event.StateName(event.Sock{Family: inet, Type: typ, Protocol: proto, State: state})
			r.Findings[0].States = map[string]int{name: 1}
			r.Findings[0].Sockets[0].State = name
			if err := sch.Validate(parse(t, reportJSON(t, r))); err != nil {
				t.Errorf("state %q: %v", name, err)
			}
		}
	}
}

// Every class, verdict and the like that Go declares is one the schema and the
// documents know.
func TestConstantsAreDocumented(t *testing.T) {
	documents := map[string]string{}
	for _, path := range []string{schemaPath, docPath, "../../docs/findings.md"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		documents[path] = string(data)
	}
	for _, source := range []string{"../verdict/report.go", "../stack/stack.go"} {
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		constants := regexp.MustCompile(`(?m)^\t\w+ +(Class|Verdict|Confidence|Quality|Kind) += "([a-z-]+)"`).FindAllStringSubmatch(string(data), -1)
		if len(constants) < 10 {
			t.Fatalf("%s declares %d constants, want 10 or more", source, len(constants))
		}
		for _, c := range constants {
			kind, name := c[1], c[2]
			if !strings.Contains(documents[schemaPath], fmt.Sprintf("%q", name)) {
				t.Errorf("%s does not know the %s %q", schemaPath, kind, name)
			}
			if !strings.Contains(documents[docPath], "`"+name+"`") {
				t.Errorf("%s does not tell of the %s %q", docPath, kind, name)
			}
			if kind == "Class" && !strings.Contains(documents["../../docs/findings.md"], "\n## "+name+"\n") {
				t.Errorf("docs/findings.md has no section on the class %q", name)
			}
			if kind == "Class" && classWords(verdict.Class(name)) == "" {
				t.Errorf("the class %q has no plain words", name)
			}
		}
	}
}

// The example in the documentation is a report as this program writes it.
func TestExampleInTheDocumentation(t *testing.T) {
	data, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(data)
	if m == nil {
		t.Fatalf("%s has no example", docPath)
	}
	if err := schema(t).Validate(parse(t, string(m[1]))); err != nil {
		t.Error(err)
	}
	var r verdict.Report
	if err := json.Unmarshal(m[1], &r); err != nil {
		t.Fatal(err)
	}
	if got := reportJSON(t, &r); got != string(m[1]) {
		t.Errorf("the example, read and written again, is\n%s", got)
	}
}

func TestNDJSON(t *testing.T) {
	r := crawler()
	line := jsonOf(t, func(w io.Writer) error { return NDJSON(w, r) })
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "}\n") {
		t.Errorf("NDJSON wrote more or less than a line: %q", line)
	}
	if !reflect.DeepEqual(parse(t, line), parse(t, reportJSON(t, r))) {
		t.Error("NDJSON and JSON say different things")
	}
	if !strings.Contains(line, "std::pair<std::string, int>") {
		t.Error("NDJSON escapes the brackets of a template")
	}
}

func TestJSONLeavesTheReportAlone(t *testing.T) {
	r := unknown()
	reportJSON(t, r)
	if want := unknown(); !reflect.DeepEqual(r, want) {
		t.Errorf("after JSON the report is %+v, want %+v", r, want)
	}
}
