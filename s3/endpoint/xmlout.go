package endpoint

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

const xmlNamespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// There is one principal; these are its canonical ID and its account.
const (
	ownerID      = "0000000000000000000000000000000000000000000000000000000000000001"
	ownerName    = "statelatch"
	ownerAccount = s3model.Account
)

type ownerXML struct {
	ID          string
	DisplayName string
}

func owner() *ownerXML { return &ownerXML{ID: ownerID, DisplayName: ownerName} }

// encodeXML renders a document; doc is one of our own types, which always can be rendered.
func encodeXML(doc any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	if err := xml.NewEncoder(&b).Encode(doc); err != nil {
		return nil, s3model.ErrInternal.With("", err)
	}
	return b.Bytes(), nil
}

// writeXML answers with a document. It never fails: a client that is gone needs no answer.
func (c *call) writeXML(status int, doc any) {
	body, err := encodeXML(doc)
	if err != nil {
		panic(err)
	}
	c.writeDocument(status, "application/xml", body)
}

func (c *call) writeDocument(status int, contentType string, body []byte) {
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
}

func (c *call) noContent() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) ok() error {
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func xmlTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func quoted(etag string) string { return `"` + etag + `"` }
