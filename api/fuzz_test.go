// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzDecode: an object that is read, strictly or not, is the same after it was
// written and read again, and what is read strictly is read otherwise too.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"kind":"network","meta":{"name":"a","parent":"d:p"},"spec":{}}`))
	f.Add([]byte(`{"kind":"subnet","meta":{"name":"a"},"spec":{"cidr":"10.0.0.0/24","allocationPools":["10.0.0.2-10.0.0.9"],"gateway":"10.0.0.1"}}`))
	f.Add([]byte(`{"kind":"foreign-document","meta":{"foreign":{"kind":"k","id":"i"}},"spec":{"body":{"a":[1,null]}}}`))
	f.Add([]byte(`{"kind":"port","spec":{"network":{"uuid":"x","uuid":"y"}}}`))
	f.Add([]byte(`{"kind":"port","Spec":{}} {}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		strictly, refused := Decode(data, true)
		o, err := Decode(data, false)
		if err != nil {
			if refused == nil {
				t.Errorf("read strictly, and otherwise not: %v", err)
			}
			return
		}
		if refused == nil && !same(t, strictly, o) {
			t.Error("read strictly it is another object")
		}
		written, err := json.Marshal(o)
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		again, err := Decode(written, false)
		if err != nil {
			t.Fatalf("read what was written: %v\n%s", err, written)
		}
		if !same(t, o, again) {
			t.Errorf("written and read again it is another object: %s", written)
		}
		o.Validate() // of anything, it comes to an end
		o.Refs()
	})
}

func same(t *testing.T, a, b Object) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

// FuzzStrictly: what is read strictly is written so that it is read strictly as the
// same, and is read otherwise too.
func FuzzStrictly(f *testing.F) {
	f.Add([]byte(`{"kind":"port","meta":{"name":"a","parent":"d:p"},"spec":{"network":"d:p:n","mac":"02:00:00:00:00:01"}}`))
	f.Add([]byte(`{"spec":{"network":{"uuid":"x","uuid":"y"}}}`))
	f.Add([]byte(`{"Spec":{}}`))
	f.Add([]byte(`{} {}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p, again, loose Port
		if DecodeStrictly(data, &p) != nil {
			return
		}
		if err := json.Unmarshal(data, &loose); err != nil || !same(t, &p, &loose) {
			t.Errorf("read otherwise it is another port (%v)", err)
		}
		written, err := json.Marshal(&p)
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		if err := DecodeStrictly(written, &again); err != nil || !same(t, &p, &again) {
			t.Errorf("written and read again it is another port (%v): %s", err, written)
		}
	})
}

// FuzzEvent: an event that is read can be written, and read again.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"type":"put","revision":7,"kind":"network","object":{"kind":"network"}}`))
	f.Add([]byte(`{"type":"bookmark","revision":-1,"object":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e, again Event
		if json.Unmarshal(data, &e) != nil {
			return
		}
		written, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("read what was written: %v\n%s", err, written)
		}
		if e.Type != again.Type || e.Revision != again.Revision || (e.Object == nil) != (again.Object == nil) {
			t.Errorf("%+v became %+v", e, again)
		}
	})
}

// FuzzRef: a reference that is read is written so that it is read as the same.
func FuzzRef(f *testing.F) {
	f.Add([]byte(`"d:p:n"`))
	f.Add([]byte(`{"uuid":"01234567-89ab-4def-8123-456789abcdef","name":"d:p:n"}`))
	f.Add([]byte(`""`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r, again Ref
		if json.Unmarshal(data, &r) != nil {
			return
		}
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		if err := json.Unmarshal(written, &again); err != nil || r != again {
			t.Errorf("%+v became %+v (%v)", r, again, err)
		}
	})
}

// FuzzAddressRange: a range is written so that it is read as the same, and one
// that begins before it ends has its ends and at least one address.
func FuzzAddressRange(f *testing.F) {
	for _, s := range []string{"10.0.0.10-10.0.0.20", "2001:db8::1", "10.0.0.0/24", "::/0", "a-b", "10.0.0.1-::1", "fe80::1%a-fe80::2%b", "::ffff:1.2.3.4-1.2.3.9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseAddressRange(s)
		if err != nil {
			return
		}
		again, err := ParseAddressRange(r.String())
		if err != nil || r != again {
			t.Errorf("%q is %v, and that is %v (%v)", s, r, again, err)
		}
		if r.First.Compare(r.Last) <= 0 && (!r.Contains(r.First) || !r.Contains(r.Last) || r.Count() == 0) {
			t.Errorf("%v does not contain its ends, or counts %d", r, r.Count())
		}
	})
}

// FuzzLabelRequirement: a condition is written so that it is read as one that
// selects the same.
func FuzzLabelRequirement(f *testing.F) {
	for _, s := range []string{"a=b", "a!=b", "a", "!a", "a in (b,c)", "a notin (b)", "a in ()", "a==b", "a in (b,c) in (d)", "a=", "a! in (b)", "a=b in (c)", "a in (b in (c))"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseLabelRequirement(s)
		if err != nil {
			return
		}
		again, err := ParseLabelRequirement(r.String())
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("%q is %+v, and that is %+v (%v)", s, r, again, err)
		}
	})
}

// FuzzBackup: only a whole backup is read, and all of it is copied.
func FuzzBackup(f *testing.F) {
	var whole bytes.Buffer
	h := BackupHeader{Format: BackupFormat, Epoch: 1, Revision: 2, CreatedAt: time.Unix(1e9, 0).UTC()}
	if err := WriteBackup(&whole, h, strings.NewReader("snapshot")); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:whole.Len()-1])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var all, snapshot bytes.Buffer
		if _, err := ReadBackup(bytes.NewReader(data), &all, &snapshot); err != nil {
			return
		}
		if !bytes.Equal(all.Bytes(), data) || !bytes.Contains(data, snapshot.Bytes()) {
			t.Error("what was copied is not what was read")
		}
	})
}
