package transit

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keyhold/kms/internal/unfilled"
	"github.com/keyhold/kms/legacy"
)

// parse makes a key of an export. What the JSON package says is dropped: it may quote.
func (e Export) parse() (legacy.Key, error) {
	var data struct {
		Name string
		Type string
		Keys map[string]string // base64 by version
	}
	if !decodeData(e.Key, &data, true) || data.Name == "" || len(data.Keys) == 0 {
		return legacy.Key{}, fmt.Errorf("%w: not the JSON of one", ErrExport)
	}
	form, ok := formOf(data.Type)
	if !ok {
		return legacy.Key{}, fmt.Errorf("%w: a transit key of that type", legacy.ErrUnsupported)
	}
	info, err := e.info(data.Name, data.Type)
	if err != nil {
		return legacy.Key{}, err
	}

	name := data.Name
	if e.Mount != "" {
		name = e.Mount + "/" + name
	}
	k := legacy.Key{ID: legacy.NameID(Scheme, name), Description: name, Imported: info.Imported, Rotates: info.rotates()}
	var numbers []string
	for number := range data.Keys {
		if !isVersion(number) {
			return legacy.Key{}, fmt.Errorf("%w: a version is not a number from 1", ErrExport)
		}
		numbers = append(numbers, number)
	}
	// Numbers without leading zeros: the longer is the greater.
	slices.SortFunc(numbers, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, number := range numbers {
		key, err := base64.StdEncoding.Strict().DecodeString(data.Keys[number])
		if err != nil || len(key) != forms[form].size || unfilled.Buffer(key) {
			clear(key)
			return legacy.Key{}, fmt.Errorf("%w: a version is not a key of its type", ErrExport)
		}
		material := encodeMaterial(form, key)
		k.Versions = append(k.Versions, legacy.NewVersion("v"+number, info.createdAt(number), material))
		clear(material)
		clear(key)
	}
	k.CreatedAt = info.createdAt("1")
	return k, nil
}

// decodeData decodes the data of an answer of the engine, or what was taken out of one. A known
// answer has no field that v has not.
func decodeData(answer []byte, v any, known bool) bool {
	var envelope map[string]json.RawMessage
	if json.Unmarshal(answer, &envelope) != nil {
		return false
	}
	if data, ok := envelope["data"]; ok {
		answer = data
	}
	d := json.NewDecoder(bytes.NewReader(answer))
	if known {
		d.DisallowUnknownFields()
	}
	return d.Decode(v) == nil
}

// keyInfo is what we need of what the engine says of a key. Later versions may say more.
type keyInfo struct {
	Name       string
	Type       string
	Derived    bool
	Convergent bool                       `json:"convergent_encryption"`
	Imported   bool                       `json:"imported_key"`
	Rotation   json.RawMessage            `json:"auto_rotate_period"` // seconds, and a text in old versions
	Keys       map[string]json.RawMessage // by version: Unix time
}

func (e Export) info(name, kind string) (keyInfo, error) {
	var info keyInfo
	if e.Info == nil {
		return info, nil
	}
	switch {
	case !decodeData(e.Info, &info, false):
		return info, fmt.Errorf("%w: the information is not in JSON", ErrExport)
	case info.Name != name || info.Type != kind:
		return info, fmt.Errorf("%w: the information is of another key", ErrExport)
	case info.Derived || info.Convergent:
		return info, fmt.Errorf("%w: a transit key that is derived", legacy.ErrUnsupported)
	}
	return info, nil
}

// rotates is the careful answer where the period cannot be read.
func (i keyInfo) rotates() bool {
	switch string(i.Rotation) {
	case "", "null", "0", `"0"`, `"0s"`:
		return false
	}
	return true
}

// createdAt is zero where nothing is said.
func (i keyInfo) createdAt(version string) time.Time {
	var seconds int64
	if json.Unmarshal(i.Keys[version], &seconds) != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
