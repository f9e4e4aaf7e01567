package export

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/lock"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("statelatch_"+name, help, labels, nil)
}

var (
	descUp          = desc("up", "1 if the last collection succeeded, 0 if it failed or there was none yet.")
	descLastSuccess = desc("last_success_timestamp_seconds", "When the last collection succeeded, in seconds since 1970.")
	descDuration    = desc("collect_duration_seconds", "How long the last collection took.")
	descFailures    = desc("collect_errors_total", "Collections that failed.")
	descHeaders     = desc("headers_read_total", "States that were read for their serial.")
	descUnsent      = desc("alert_errors_total", "Messages that the webhook did not take.")

	descLocks   = desc("locks", "Locks, by verdict.", "verdict")
	descStates  = desc("states", "States.")
	descBytes   = desc("states_bytes", "Bytes of all states.")
	descFlags   = desc("states_flagged", "States with a flag of 'statelatch states' that takes only a listing.", "flag")
	descLeftOut = desc("keys_left_out", "Keys that have no series of their own because of -max-series. They are "+
		"counted in statelatch_locks and statelatch_states.")
	descUnlisted = desc("locks_incomplete", "1 if the DynamoDB table could not be listed, so that locks which are only "+
		"there are missing.")
	descTier = desc("probe_tier", "1 for the tier that a probe found for the store, 0 for the others. No series if "+
		"no verdict is known.", "tier")

	descSerial   = desc("state_serial", "Serial of a state.", "key", "workspace")
	descSize     = desc("state_bytes", "Bytes of a state.", "key", "workspace")
	descModified = desc("state_last_modified_timestamp_seconds", "When a state was last written, in seconds since 1970.",
		"key", "workspace")
)

func (e *Exporter) lockDescs() (held, age *prometheus.Desc) {
	labels := []string{"key", "workspace", "verdict"}
	if e.cfg.Holder {
		labels = append(labels, "holder")
	}
	return desc("lock_held", "1 for every state that is locked. Who waits for a lock leaves no trace in the bucket, so "+
			"waiters are not counted.", labels...),
		desc("lock_age_seconds", "Age of a lock by the store's clock, since its last renewal. No series if it is not "+
			"known, as of an item in DynamoDB.", labels...)
}

// Collector is e as a [prometheus.Collector]. It sends no request.
func (e *Exporter) Collector() prometheus.Collector { return collector{e} }

type collector struct{ *Exporter }

// Describe implements [prometheus.Collector].
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{
		descUp, descLastSuccess, descDuration, descFailures, descHeaders, descUnsent, descLocks, descStates, descBytes,
		descFlags,
		descLeftOut, descUnlisted, descTier, descSerial, descSize, descModified,
	} {
		ch <- d
	}
	held, age := c.lockDescs()
	ch <- held
	ch <- age
}

// Collect implements [prometheus.Collector] for what the last good collection found.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	e := c.Exporter
	e.mu.Lock()
	last, ok, took, failures, read := e.last, e.ok, e.took, e.failures, e.headersRead
	e.mu.Unlock()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(descUp, one(ok))
	gauge(descDuration, took.Seconds())
	ch <- prometheus.MustNewConstMetric(descFailures, prometheus.CounterValue, failures)
	ch <- prometheus.MustNewConstMetric(descHeaders, prometheus.CounterValue, read)
	if e.cfg.Alerts != nil {
		ch <- prometheus.MustNewConstMetric(descUnsent, prometheus.CounterValue, float64(e.cfg.Alerts.unsent.Load()))
	}
	if e.cfg.Tier != lock.TierUnknown {
		for _, tier := range []lock.Tier{lock.TierFull, lock.TierCAS, lock.TierNone} {
			gauge(descTier, one(tier == e.cfg.Tier), tier.String())
		}
	}
	if last == nil {
		return
	}
	gauge(descLastSuccess, float64(last.at.UnixMilli())/1e3)
	gauge(descUnlisted, one(last.unlisted))
	gauge(descLeftOut, float64(last.leftOut))
	e.locks(last, gauge)
	e.states(last, gauge)
}

type setGauge func(d *prometheus.Desc, value float64, labels ...string)

func (e *Exporter) locks(c *collection, gauge setGauge) {
	verdicts := map[evidence.State]int{evidence.Live: 0, evidence.Stale: 0, evidence.Unknown: 0}
	type series struct{ key, workspace, verdict, holder string }
	ages := map[series]float64{} // lock object and item of different holders may be one series; -1: no age
	for _, l := range c.locks {
		verdicts[l.Verdict.State]++
		if !c.shown[l.Ref.Key] {
			continue
		}
		s := series{key: label(l.Ref.Key), workspace: label(e.workspace(l.Ref.Key)), verdict: string(l.Verdict.State)}
		if e.cfg.Holder {
			s.holder = label(l.Info.Who)
		}
		age := -1.0
		if !l.Since.IsZero() {
			age = l.Age.Seconds()
		}
		if before, ok := ages[s]; !ok || age > before {
			ages[s] = age
		}
	}
	for verdict, n := range verdicts {
		gauge(descLocks, float64(n), string(verdict))
	}
	held, aged := e.lockDescs()
	for s, age := range ages {
		labels := []string{s.key, s.workspace, s.verdict}
		if e.cfg.Holder {
			labels = append(labels, s.holder)
		}
		gauge(held, 1, labels...)
		if age >= 0 {
			gauge(aged, age, labels...)
		}
	}
}

func (e *Exporter) states(c *collection, gauge setGauge) {
	existing, bytes := 0, int64(0)
	flags := map[fleet.Flag]int{fleet.FlagZeroBytes: 0, fleet.FlagNoState: 0, fleet.FlagRescued: 0, fleet.FlagOrphan: 0}
	for _, s := range c.states {
		for _, f := range s.Flags {
			flags[f]++
		}
		if !s.Exists {
			continue
		}
		existing++
		bytes += s.Size
		if !c.shown[s.Key] {
			continue
		}
		key, workspace := label(s.Key), label(e.workspace(s.Key))
		gauge(descSize, float64(s.Size), key, workspace)
		gauge(descModified, float64(s.Written.Unix()), key, workspace)
		if serial, ok := c.serials[s.Key]; ok {
			gauge(descSerial, float64(serial), key, workspace)
		}
	}
	gauge(descStates, float64(existing))
	gauge(descBytes, float64(bytes))
	for flag, n := range flags {
		gauge(descFlags, float64(n), string(flag))
	}
}

func (e *Exporter) workspace(key string) string {
	if workspace, _, ok := statelatch.CutWorkspace(key, e.cfg.WorkspacePrefix); ok {
		return workspace
	}
	return statelatch.DefaultWorkspace
}

// label is s as a label's value: UTF-8 without what drives a terminal or turns text. Different texts stay different.
func label(s string) string {
	if strings.HasPrefix(s, `"`) || !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
