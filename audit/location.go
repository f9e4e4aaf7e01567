package audit

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/guardhttp"
)

// Opener connects to the bucket of an s3:// location.
type Opener func(name string) (bucket.Bucket, error)

// Open makes the sink that a location names:
//
//	s3://BUCKET/PREFIX               a [BucketLog], in the bucket that open connects to
//	file:PATH                        a [FileLog]
//	syslog:                          the local syslog daemon
//	syslog:udp://HOST:PORT, tcp://   one on the network
//	https://...                      a webhook: events are posted as JSON
//
// key, if it is not empty, are the [Keys] that sign every event, and a webhook's bodies by the first of them. A
// [BucketLog] and a [FileLog] can be read back, as a [Log]. Elsewhere the events of one process make a chain of their
// own. It sends nothing yet. Errors are open's, or match [statelatch.ErrInvalid] or [statelatch.ErrUnsupported].
func Open(location string, key []byte, open Opener) (Sink, error) {
	keys, err := ParseKeys(key)
	if err != nil {
		return nil, err
	}
	kind, rest, _ := strings.Cut(location, ":")
	switch kind {
	case "s3":
		scope, err := statelatch.ParseScope("s3://" + strings.TrimPrefix(rest, "//"))
		if err != nil {
			return nil, fmt.Errorf("audit location: %w", err)
		}
		name, prefix := scope.Bucket, scope.Prefix
		if err := checkPrefix(prefix); err != nil {
			return nil, err
		}
		b, err := open(name)
		if err != nil {
			return nil, err
		}
		l, err := NewBucketLog(b, prefix)
		if err != nil {
			return nil, err
		}
		l.Keys = keys
		return l, nil
	case "file":
		if rest == "" {
			return nil, fmt.Errorf("%w audit location %q: the path is missing: want file:PATH", statelatch.ErrInvalid, location)
		}
		return &FileLog{Keys: keys, path: rest}, nil
	case "syslog":
		return openSyslog(rest, keys)
	case "https", "http":
		hook, err := guardhttp.NewWebhook(location, keys.first(), nil)
		if err != nil {
			return nil, fmt.Errorf("audit location: %w", err)
		}
		return &webhook{Webhook: hook, chain: processChain{keys: keys}}, nil
	}
	// It is not shown: it may be a webhook without its scheme, or what stands behind a comma in one.
	return nil, fmt.Errorf("%w audit location: want s3://BUCKET/PREFIX, file:PATH, syslog: or https://HOST/PATH, and "+
		"commas only between several", statelatch.ErrInvalid)
}

// Locations takes a list of locations apart, with commas between them.
func Locations(list string) (locations []string) {
	for location := range strings.SplitSeq(list, ",") {
		if location = strings.TrimSpace(location); location != "" {
			locations = append(locations, location)
		}
	}
	return locations
}

// OpenLog opens the first of some locations that can be read back. Where there is none, sent are the names of those
// that events are sent to for good. Errors are those of [Open].
func OpenLog(locations []string, open Opener) (log Log, sent []string, err error) {
	for _, location := range locations {
		sink, err := Open(location, nil, open)
		if err != nil {
			return nil, nil, err
		}
		if log, ok := sink.(Log); ok {
			return log, nil, nil
		}
		sent = append(sent, sink.String()) // not the location, which may be a secret
	}
	return nil, sent, nil
}

func openSyslog(at string, keys Keys) (Sink, error) {
	if at == "" {
		return newSyslog("", "", keys...)
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "udp" && u.Scheme != "tcp" {
		return nil, fmt.Errorf("%w audit location %q: want syslog:, syslog:udp://HOST:PORT or syslog:tcp://HOST:PORT",
			statelatch.ErrInvalid, "syslog:"+at)
	}
	if _, _, err := net.SplitHostPort(u.Host); err != nil || u.Path != "" {
		return nil, fmt.Errorf("%w audit location %q: want syslog:%s://HOST:PORT", statelatch.ErrInvalid, "syslog:"+at,
			u.Scheme)
	}
	return newSyslog(u.Scheme, u.Host, keys...)
}
