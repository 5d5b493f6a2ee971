package quality

import (
	"cmp"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/simulate"
	"github.com/edgepulse/edgepulse/schemas"
)

var (
	long = flag.Bool("long", false, "the long form: seven days, over 500 anomalies")
	seed = flag.Uint64("seed", 1, "of the simulated fleets")
	list = flag.Bool("list", false, "print every anomaly with what became of it, and every false alarm")
)

const (
	slackSteps = 3   // a verdict up to so many steps after an anomaly's end still belongs to it
	tailSteps  = 100 // and up to so many it may be its echo: the longest window of a channel
)

// group is a fleet of one rhythm.
type group struct {
	name    string
	devices int
	step    time.Duration
	perDay  float64 // anomalies per device
	tick    time.Duration
	past    time.Duration
	present time.Duration
}

const day = 24 * time.Hour

// The fleets: what is measured every half minute, minute and five minutes. Half
// of the first two samples at twice the step.
var (
	longGroups = []group{
		{"30s/60s", 12, 30 * time.Second, 3, time.Second, 4 * day, 7 * day},
		{"60s/120s", 16, time.Minute, 3, time.Second, 7 * day, 7 * day},
		{"5m/10m", 24, 5 * time.Minute, .7, time.Second, 14 * day, 7 * day},
	}
	shortGroups = []group{
		{"60s/120s", 8, time.Minute, 3, time.Second, 4 * day, 2 * day},
		{"5m/10m", 8, 5 * time.Minute, .7, time.Second, 7 * day, 3 * day},
	}
)

// anomaly is one of the truth with what the service made of it.
type anomaly struct {
	simulate.Anomaly
	group    string
	step     int64 // µs
	detected bool  // a warning between its start and slackSteps after its end
	noticed  bool  // at least an info, whose threshold is one lower
	first    schemas.Label
	alert    schemas.Label // of the last such warning: what an alert shows at the end
	final    schemas.Label // of the last verdict that bears a label: revisions included
	delay    int64         // µs of event time from its start to the first warning
	silence  float64       // missingness: expected intervals from the last arrival to a warning by silence, 0 = none
}

// figures are what a group contributes.
type figures struct {
	anomalies   []*anomaly
	metricWeeks float64
	falseAlarms map[schemas.Label]int // isolated ones, far from any anomaly
	echoes      int                   // warnings in the tail of an anomaly
	notes       []string
	verdicts    int
	spent       time.Duration
}

// TestConfusion holds the published labels to the floors of the project. Any
// warning counts as detection, however many verdicts precede it.
func TestConfusion(t *testing.T) {
	groups := shortGroups
	if *long {
		groups = longGroups
	}
	results := make([]*figures, len(groups))
	var wg sync.WaitGroup
	limit := make(chan struct{}, max(runtime.GOMAXPROCS(0), 1))
	for i, g := range groups {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			results[i] = g.run(t)
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	r := report{t: t}
	for i, g := range groups {
		f := results[i]
		r.add(f)
		alarms := 0
		for _, n := range f.falseAlarms {
			alarms += n
		}
		t.Logf("%-9s %d verdicts in %s; %.1f metric weeks, %.2f false alarms each %v, %d echoes",
			g.name, f.verdicts, f.spent.Round(time.Second), f.metricWeeks, float64(alarms)/f.metricWeeks, f.falseAlarms, f.echoes)
		for _, n := range f.notes {
			t.Log(n)
		}
	}
	r.print()
	r.judge()
}

func (g group) run(t *testing.T) *figures {
	begin := time.Now()
	start := time.Unix(1_790_000_000, 0).UTC().Truncate(day)
	turn, end := start.Add(g.past), start.Add(g.past+g.present)
	cfg := simulate.Config{Seed: *seed, Devices: g.devices, Start: start, Step: g.step, MixedSteps: true,
		ClockSkew: 2 * time.Second, Jitter: .1, DropRate: .01, AnomaliesPerDay: g.perDay}
	p := newPlant(t, cfg, g.tick)
	err := p.past(start, turn)
	if err == nil {
		err = p.present(turn, end)
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	f := &figures{falseAlarms: map[schemas.Label]int{}}
	truth := map[string][]*anomaly{}
	devices := p.fleet.Devices()
	for _, a := range p.fleet.GroundTruth(start, end) {
		step := g.step.Microseconds()
		if slices.Index(devices, a.Device)/4%2 == 1 {
			step *= 2
		}
		x := &anomaly{Anomaly: a, group: g.name, step: step}
		truth[a.Device+" "+a.Metric] = append(truth[a.Device+" "+a.Metric], x)
	}
	for _, s := range p.order {
		all := truth[s.device+" "+s.name]
		for _, a := range all {
			if a.Start >= turn.UnixMicro() && a.End+(slackSteps+2)*a.step < end.UnixMicro() {
				s.match(a)
				f.anomalies = append(f.anomalies, a)
			}
		}
		f.alarms(s, all, turn.UnixMicro(), g.step.Microseconds())
		f.metricWeeks += g.present.Hours() / 24 / 7
		f.verdicts += len(s.verdicts)
	}
	f.spent = time.Since(begin)
	return f
}

// match says what the service made of an anomaly.
func (s *series) match(a *anomaly) {
	from, to := a.Start-a.step/2, a.End+slackSteps*a.step
	for _, v := range s.verdicts {
		if v.ts < from || v.ts > to {
			continue
		}
		a.noticed = a.noticed || v.severity >= schemas.Severity_SEVERITY_INFO
		if v.severity >= schemas.Severity_SEVERITY_WARNING {
			if !a.detected {
				a.detected, a.first, a.delay = true, v.label, max(v.ts-a.Start, 0)
			}
			a.alert = v.label
		}
		if a.detected && v.label != schemas.Label_LABEL_NONE {
			a.final = v.label
		}
	}
	if a.Label != simulate.Missingness {
		return
	}
	i, _ := slices.BinarySearch(s.arrivals, a.Start-a.step/2)
	if i == 0 {
		return
	}
	for _, v := range s.verdicts {
		if v.silent && v.severity >= schemas.Severity_SEVERITY_WARNING && v.heard > s.arrivals[i-1] && v.ts >= from-2*a.step && v.ts <= to {
			a.silence = float64(v.heard-s.arrivals[i-1]) / float64(a.step)
			return
		}
	}
}

// alarms counts warnings that no anomaly explains; those within ten steps of
// each other are one.
func (f *figures) alarms(s *series, truth []*anomaly, from, step int64) {
	last := int64(0)
	for _, v := range s.verdicts {
		if v.ts < from || v.severity < schemas.Severity_SEVERITY_WARNING {
			continue
		}
		inside, echo := false, false
		for _, a := range truth {
			inside = inside || v.ts >= a.Start-a.step/2 && v.ts <= a.End+slackSteps*a.step
			echo = echo || v.ts >= a.Start && v.ts <= a.End+tailSteps*a.step
		}
		switch {
		case inside:
		case echo:
			f.echoes++
		case last == 0 || v.ts > last+10*step:
			f.falseAlarms[v.label]++
			if *list {
				f.notes = append(f.notes, fmt.Sprintf("false alarm %s %s %s %s", s.device, s.name, time.UnixMicro(v.ts).UTC().Format(time.DateTime), v.label.Word()))
			}
		}
		last = v.ts
	}
}

// report gathers the anomalies of all groups.
type report struct {
	t   *testing.T
	all []*anomaly
}

func (r *report) add(f *figures) { r.all = append(r.all, f.anomalies...) }

var published = []schemas.Label{schemas.Label_LABEL_SPIKE, schemas.Label_LABEL_DROP, schemas.Label_LABEL_DRIFT,
	schemas.Label_LABEL_MISSINGNESS, schemas.Label_LABEL_STUCK}

func wanted(l simulate.Label) schemas.Label { return published[l] }

// matrix prints true label by published label.
func (r *report) matrix(title string, of func(*anomaly) schemas.Label) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%-12s %8s %8s %8s", title, "injected", "total", "detected", "rate")
	for _, l := range published {
		fmt.Fprintf(&b, " %11s", l.Word())
	}
	fmt.Fprintf(&b, " %6s\n", "right")
	for _, truth := range simulate.Labels {
		count := map[schemas.Label]int{}
		total, detected := 0, 0
		for _, a := range r.all {
			if a.Label != truth {
				continue
			}
			total++
			if a.detected {
				detected++
				count[of(a)]++
			}
		}
		fmt.Fprintf(&b, "%-12s %8d %8d %8.3f", truth, total, detected, share(detected, total))
		for _, l := range published {
			fmt.Fprintf(&b, " %11d", count[l])
		}
		fmt.Fprintf(&b, " %6.3f\n", share(count[wanted(truth)], detected))
	}
	r.t.Log(b.String())
}

func share(n, of int) float64 { return float64(n) / float64(max(of, 1)) }

func (r *report) print() {
	r.t.Logf("%d anomalies", len(r.all))
	r.matrix("label of the first warning", func(a *anomaly) schemas.Label { return a.first })
	r.matrix("label of the last warning (what an alert ends with)", func(a *anomaly) schemas.Label { return a.alert })
	r.matrix("label after revisions (the last one of the score log)", func(a *anomaly) schemas.Label { return a.final })
	r.sizes()
	if delays := r.silences(); len(delays) > 0 {
		r.t.Logf("silence: %d of %d gaps warned of before they ended; expected intervals until then: median %.2f, p99 %.2f, max %.2f",
			len(delays), r.gaps(), delays[len(delays)/2], delays[len(delays)*99/100], delays[len(delays)-1])
	}
	if *list {
		for _, a := range r.all {
			r.t.Logf("%-9s %-16s %-14s %-11s %s %4d steps %6.1f: detected %v first %s alert %s final %s silence %.2f", a.group, a.Device, a.Metric, a.Label,
				time.UnixMicro(a.Start).UTC().Format(time.DateTime), (a.End-a.Start)/a.step+1, a.Magnitude, a.detected, a.first.Word(), a.alert.Word(), a.final.Word(), a.silence)
		}
	}
}

// sizes prints detection by group, and by magnitude or length: a warning, and
// whether at least an info said it. Magnitudes are in standard deviations of the
// metric's own noise; who knew that noise would see all of them. The threshold of a
// warning is set for one false alarm a week on recorded metrics, whose tails are
// heavier than those simulated here: it costs these.
func (r *report) sizes() {
	type row struct{ total, detected, noticed int }
	rows := map[string]*row{}
	for _, a := range r.all {
		for _, key := range []string{"by fleet  " + a.Label.String() + " " + a.group, "by size   " + a.Label.String() + " " + a.size()} {
			if rows[key] == nil {
				rows[key] = &row{}
			}
			rows[key].total++
			if a.detected {
				rows[key].detected++
			}
			if a.noticed {
				rows[key].noticed++
			}
		}
	}
	var b strings.Builder
	keys := make([]string, 0, len(rows))
	for k := range rows {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "%-40s %4d of %4d = %.3f, noticed %.3f\n", k, rows[k].detected, rows[k].total,
			share(rows[k].detected, rows[k].total), share(rows[k].noticed, rows[k].total))
	}
	r.t.Log("detection\n" + b.String())
}

func (a *anomaly) size() string {
	switch m := max(a.Magnitude, -a.Magnitude); {
	case a.Label == simulate.Missingness || a.Label == simulate.Stuck:
		n := (a.End-a.Start)/a.step + 1
		for _, limit := range []int64{10, 20, 40, 80, 120} {
			if n <= limit {
				return fmt.Sprintf("up to %3d samples", limit)
			}
		}
		return "over 120 samples"
	case m < 8:
		return "6 to 8 sigma"
	case m < 10:
		return "8 to 10 sigma"
	}
	return "over 10 sigma"
}

func (r *report) gaps() (n int) {
	for _, a := range r.all {
		if a.Label == simulate.Missingness {
			n++
		}
	}
	return n
}

func (r *report) silences() (delays []float64) {
	for _, a := range r.all {
		if a.silence > 0 {
			delays = append(delays, a.silence)
		}
	}
	slices.SortFunc(delays, cmp.Compare)
	return delays
}

// judge fails below the floors.
func (r *report) judge() {
	floors := [...]float64{simulate.Spike: .9, simulate.Drop: .9, simulate.Drift: .4, simulate.Missingness: .9, simulate.Stuck: .9}
	for _, truth := range simulate.Labels {
		right, detected := 0, 0
		for _, a := range r.all {
			if a.Label == truth && a.detected {
				detected++
				if a.final == wanted(truth) {
					right++
				}
			}
		}
		if detected < 8 && !*long {
			continue // the short form is too short to hold a share of so few; the long form holds all
		}
		if got := share(right, detected); got < floors[truth] {
			r.t.Errorf("%s: %.3f right of %d detected, floor %.2f", truth, got, detected, floors[truth])
		}
	}
	if delays := r.silences(); len(delays) < r.gaps()*9/10 || len(delays) > 0 && delays[len(delays)-1] > 3 {
		r.t.Errorf("%d of %d gaps warned of while silent, the slowest after more than 3 expected intervals", len(delays), r.gaps())
	}
	if *long && len(r.all) < 500 {
		r.t.Errorf("%d anomalies, want 500", len(r.all))
	}
}
