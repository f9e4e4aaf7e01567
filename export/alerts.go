package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
)

const (
	// A message is sent up to alertTries times, and then again at the next collection.
	alertTries   = 3
	alertTimeout = 10 * time.Second
	alertPause   = time.Second // before the second try; doubles
)

// The values of [Message.Event].
const (
	EventOld  = "lock_old"
	EventGone = "lock_gone"
)

// Verdicts says which locks are worth a message.
type Verdicts string

// The choices.
const (
	VerdictsStale   Verdicts = "stale"   // provably stale
	VerdictsUnknown Verdicts = "unknown" // not provably live
	VerdictsAny     Verdicts = "any"
)

func (v Verdicts) include(s evidence.State) bool {
	switch v {
	case VerdictsStale:
		return s == evidence.Stale
	case VerdictsUnknown:
		return s != evidence.Live
	case VerdictsAny:
	}
	return true
}

// Message is what the webhook gets, as JSON. Text alone is what Slack and its like show.
type Message struct {
	Text       string         `json:"text"`
	Event      string         `json:"event"`
	Ref        string         `json:"ref"`
	Workspace  string         `json:"workspace"`
	LockID     string         `json:"lock_id,omitempty"`
	Who        string         `json:"who,omitempty"`
	Operation  string         `json:"operation,omitempty"`
	Verdict    evidence.State `json:"verdict"`
	Proof      string         `json:"proof,omitempty"`
	AgeSeconds int64          `json:"age_seconds"` // when it was last seen
	Since      time.Time      `json:"since"`
}

// Alerts tells a webhook about locks of at least an age: once when one gets that old, and once when it is gone.
type Alerts struct {
	url       string
	olderThan time.Duration
	verdicts  Verdicts
	client    *http.Client
	told      map[string]Message // by [lockName]; of the collecting goroutine alone
	unsent    atomic.Int64
}

// NewAlerts returns an Alerts for the webhook at address, which is a secret: it is in no error and no log. Redirects are not followed.
// transport nil means [http.DefaultTransport]. Errors match ErrInvalid.
func NewAlerts(address string, olderThan time.Duration, verdicts Verdicts, transport http.RoundTripper) (*Alerts, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w webhook: want http://HOST/PATH or https://HOST/PATH", statelatch.ErrInvalid) // without the URL: it may hold a token
	}
	return &Alerts{
		url: address, olderThan: olderThan, verdicts: verdicts, told: map[string]Message{},
		client: &http.Client{
			Transport: transport, Timeout: alertTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// lockName tells one lock from all others; empty if it cannot be told.
func lockName(l fleet.Lock) string {
	id := l.Info.ID
	if id == "" {
		id = l.ETag
	}
	if id == "" {
		return ""
	}
	return l.Ref.Key + "\x00" + id
}

// see compares what was collected with what was told. What the webhook does not take is tried again the next time.
func (a *Alerts) see(ctx context.Context, c *collection, cfg Config) {
	present, unread := map[string]bool{}, map[string]bool{}
	for _, l := range c.locks {
		name := lockName(l)
		if l.Unread != nil || name == "" {
			unread["s3://"+l.Ref.Path()] = true
			continue
		}
		present[name] = true
		if _, told := a.told[name]; told || l.Since.IsZero() || l.Age < a.olderThan || !a.verdicts.include(l.Verdict.State) {
			continue
		}
		m := message(l, cfg.WorkspacePrefix)
		switch err := a.send(ctx, m, cfg); {
		case err == nil:
			a.told[name] = m
		case !errors.Is(err, errRefused):
			return
		}
	}
	if c.unlisted {
		return // a lock that is only in the table would look gone
	}
	for name, m := range a.told {
		if present[name] || unread[m.Ref] {
			continue
		}
		m.Event = EventGone
		m.Text = fmt.Sprintf("The lock of %s is gone. It was held by %s.", escape(m.Ref), escape(holder(m)))
		switch err := a.send(ctx, m, cfg); {
		case err == nil:
			delete(a.told, name)
		case !errors.Is(err, errRefused):
			return
		}
	}
}

func message(l fleet.Lock, workspacePrefix string) Message {
	m := Message{
		Event: EventOld, Ref: l.Ref.String(), Workspace: statelatch.DefaultWorkspace, LockID: l.Info.ID, Who: l.Info.Who, Operation: l.Info.Operation,
		Verdict: l.Verdict.State, Proof: l.Verdict.Proof, AgeSeconds: int64(l.Age / time.Second), Since: l.Since.UTC(),
	}
	if workspace, _, ok := statelatch.CutWorkspace(l.Ref.Key, workspacePrefix); ok {
		m.Workspace = workspace
	}
	m.Text = fmt.Sprintf("%s is locked for %s by %s. Verdict: %s: %s.",
		escape(m.Ref), evidence.Span(l.Age), escape(holder(m)), m.Verdict, escape(m.Proof))
	return m
}

func holder(m Message) string {
	switch {
	case m.Who == "":
		return "somebody unknown"
	case m.Operation == "":
		return m.Who
	}
	return m.Who + " (" + m.Operation + ")"
}

// escape keeps what others wrote into a lock from being a link, a mention or a line of its own in a chat.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(statelatch.Printable(s))
}

// errRefused says that this message is not wanted. Another one may be.
var errRefused = errors.New("the message was refused")

// send sends m, a few times if it must.
func (a *Alerts) send(ctx context.Context, m Message, cfg Config) error {
	body, err := json.Marshal(m)
	for try := 1; err == nil; try++ {
		var again bool
		if again, err = a.post(ctx, body); err == nil {
			return nil
		}
		if !again || try == alertTries || pause(ctx, alertPause<<(try-1)) != nil {
			break
		}
		err = nil
	}
	a.unsent.Add(1)
	cfg.Log.Warn("the webhook did not take a message", "event", m.Event, "ref", statelatch.Printable(m.Ref), "error", err)
	return err
}

// post sends body once. Again tells that another try may help.
func (a *Alerts) post(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("its URL is not usable")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the outer one has the URL in it
		}
		return ctx.Err() == nil, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	_ = resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return false, fmt.Errorf("%w: it answered with status %d", errRefused, resp.StatusCode)
	}
	return resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests, fmt.Errorf("it answered with status %d", resp.StatusCode)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
