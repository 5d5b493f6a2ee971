// Package plot draws one scored series: value, band and anomalies over time.
//
// What comes in: a Series. What goes out: an SVG or PNG file, by the name's
// ending. Long series are thinned to what a pixel can show, keeping each pixel's
// extremes. State: none. Failure: an error that names the file.
package plot

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Point is one row. A band of NaN is none.
type Point struct {
	T            time.Time
	Value        float64
	Lower, Upper float64
	Severity     int    // 0 none, 1 info, 2 warning, 3 critical
	Label        string // with a severity
}

// Series is what a picture shows.
type Series struct {
	Title, Unit string
	Points      []Point // by time
}

const (
	width  = 11 * vg.Inch
	height = 4.2 * vg.Inch
	// columns is about the number of pixels of the drawing area.
	columns = 900
	// labelled is how many anomalies get their name: more would hide the curve.
	labelled = 24
	// labelRoom is how far apart two names are at least, in parts of the width.
	labelRoom = .055
)

var (
	ink        = color.NRGBA{0x1f, 0x29, 0x37, 0xff}
	faint      = color.NRGBA{0xe5, 0xe7, 0xeb, 0xff}
	quiet      = color.NRGBA{0x6b, 0x72, 0x80, 0xff}
	bandColor  = color.NRGBA{0xbf, 0xdb, 0xfe, 0xb0}
	valueColor = color.NRGBA{0x1d, 0x4e, 0xd8, 0xff}
	severities = [...]color.NRGBA{1: {0x08, 0x91, 0xb2, 0xff}, 2: {0xd9, 0x77, 0x06, 0xff}, 3: {0xdc, 0x26, 0x26, 0xff}}
	names      = [...]string{1: "info", 2: "warning", 3: "critical"}
)

// Write draws a series into a file that ends in .svg or .png.
func Write(path string, s Series) error {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".svg", ".png":
	default:
		return fmt.Errorf("draw %s: expected a file name that ends in .svg or .png", path)
	}
	if len(s.Points) < 2 {
		return fmt.Errorf("draw %s: a series of %d rows has no curve", path, len(s.Points))
	}
	p, err := compose(s)
	if err == nil {
		err = save(p, path)
	}
	if err != nil {
		return fmt.Errorf("draw %s: %w", path, err)
	}
	return nil
}

// save leaves a margin around the picture.
func save(p *plot.Plot, path string) error {
	c, err := draw.NewFormattedCanvas(width, height, strings.ToLower(filepath.Ext(path))[1:])
	if err != nil {
		return err
	}
	whole := draw.New(c)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	p.Draw(draw.Crop(whole, vg.Points(10), -vg.Points(14), vg.Points(6), -vg.Points(8)))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(f)
	return errors.Join(err, f.Close())
}

func compose(s Series) (*plot.Plot, error) {
	p := plot.New()
	style(p, s)
	shown := thin(s.Points)
	lo, hi := limits(shown)
	band, err := bandOf(shown, lo, hi)
	if err != nil {
		return nil, err
	}
	value := make(plotter.XYs, len(shown))
	for i, pt := range shown {
		value[i] = plotter.XY{X: seconds(pt.T), Y: pt.Value}
	}
	line, err := plotter.NewLine(value)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width = valueColor, vg.Points(.9)
	p.Add(grid())
	for _, b := range band {
		p.Add(b)
	}
	p.Add(line)
	p.Legend.Add("value", line)
	if len(band) > 0 {
		p.Legend.Add("99 % band", band[0])
	}
	if err := marks(p, s.Points, hi-lo); err != nil {
		return nil, err
	}
	p.X.Min, p.X.Max = seconds(shown[0].T), seconds(shown[len(shown)-1].T)
	p.Y.Min, p.Y.Max = lo, hi
	return p, nil
}

func style(p *plot.Plot, s Series) {
	set := func(t *text.Style, size float64, c color.Color) {
		t.Font, t.Color = sans(size), c
	}
	p.BackgroundColor = color.White
	p.Title.Text, p.Title.Padding = s.Title, vg.Points(6)
	set(&p.Title.TextStyle, 13, ink)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		set(&a.Label.TextStyle, 10, quiet)
		set(&a.Tick.Label, 9, quiet)
		a.Color, a.Tick.Color, a.Tick.Length = quiet, quiet, vg.Points(4)
		a.LineStyle.Width, a.Tick.Width, a.Padding = vg.Points(.5), vg.Points(.5), vg.Points(2)
	}
	p.X.Label.Text, p.Y.Label.Text = "time (UTC)", s.Unit
	p.X.Tick.Marker, p.Y.Tick.Marker = timeTicks{}, valueTicks{}
	set(&p.Legend.TextStyle, 9, ink)
	p.Legend.Top, p.Legend.ThumbnailWidth, p.Legend.Padding = true, vg.Points(16), vg.Points(3)
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(-4), vg.Points(-2)
}

func sans(size float64) font.Font {
	return font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, vg.Points(size))
}

func grid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = faint, faint
	g.Vertical.Width, g.Horizontal.Width = vg.Points(.5), vg.Points(.5)
	return g
}

// limits leave room above the values for names; the band may be cut off: one bad
// minute of a young model must not flatten the curve.
func limits(pts []Point) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, p := range pts {
		lo, hi = min(lo, p.Value), max(hi, p.Value)
	}
	room := max(hi-lo, 1e-9*math.Abs(hi), 1e-12)
	return lo - .08*room, hi + .2*room
}

// bandOf draws the band as polygons between the rows that have none.
func bandOf(pts []Point, lo, hi float64) ([]*plotter.Polygon, error) {
	var out []*plotter.Polygon
	flush := func(run []Point) error {
		if len(run) < 2 {
			return nil
		}
		edge := make(plotter.XYs, 0, 2*len(run))
		for _, p := range run {
			edge = append(edge, plotter.XY{X: seconds(p.T), Y: min(max(p.Upper, lo), hi)})
		}
		for i := len(run) - 1; i >= 0; i-- {
			edge = append(edge, plotter.XY{X: seconds(run[i].T), Y: min(max(run[i].Lower, lo), hi)})
		}
		poly, err := plotter.NewPolygon(edge)
		if err != nil {
			return err
		}
		poly.Color, poly.LineStyle.Width = bandColor, 0
		out = append(out, poly)
		return nil
	}
	from := 0
	for i, p := range pts {
		if math.IsNaN(p.Lower) || math.IsNaN(p.Upper) {
			if err := flush(pts[from:i]); err != nil {
				return nil, err
			}
			from = i + 1
		}
	}
	return out, flush(pts[from:])
}

// marks puts a dot on every anomalous row, and a name over those that stand together.
func marks(p *plot.Plot, pts []Point, span float64) error {
	var at [len(severities)]plotter.XYs
	for _, pt := range pts {
		if s := grade(pt); s > 0 {
			at[s] = append(at[s], plotter.XY{X: seconds(pt.T), Y: pt.Value})
		}
	}
	for s := 1; s < len(at); s++ {
		if len(at[s]) == 0 {
			continue
		}
		dots, err := plotter.NewScatter(at[s])
		if err != nil {
			return err
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: severities[s], Radius: vg.Points(2.6), Shape: draw.CircleGlyph{}}
		p.Add(dots)
		p.Legend.Add(names[s], dots)
	}
	var words plotter.XYLabels
	named := leaders(pts)
	for _, i := range named {
		around := pts[max(0, i-len(pts)/40):min(len(pts), i+len(pts)/40+1)]
		words.XYs = append(words.XYs, plotter.XY{X: seconds(pts[i].T), Y: top(around) + .03*span})
		words.Labels = append(words.Labels, pts[i].Label)
	}
	if len(named) == 0 {
		return nil
	}
	labels, err := plotter.NewLabels(words)
	if err != nil {
		return err
	}
	for k, i := range named {
		labels.TextStyle[k] = text.Style{Color: severities[grade(pts[i])], XAlign: draw.XCenter, YAlign: draw.YBottom,
			Handler: plot.DefaultTextHandler, Font: sans(9)}
	}
	p.Add(labels)
	return nil
}

func grade(p Point) int { return min(max(p.Severity, 0), len(severities)-1) }

// leaders are the rows whose label is written out: of anomalies that follow each
// other closely the first of the highest severity.
func leaders(pts []Point) []int {
	room := labelRoom * (seconds(pts[len(pts)-1].T) - seconds(pts[0].T))
	var out []int
	last := math.Inf(-1)
	for i, p := range pts {
		if grade(p) == 0 {
			continue
		}
		x := seconds(p.T)
		n := len(out)
		switch {
		case n == 0 || x-last > room/4 && x-seconds(pts[out[n-1]].T) > room:
			if n < labelled {
				out = append(out, i)
			}
		case grade(p) > grade(pts[out[n-1]]):
			out[n-1] = i
		}
		last = x
	}
	return out
}

// top is the largest value: names stand above the curve, not on it.
func top(pts []Point) float64 {
	most := math.Inf(-1)
	for _, p := range pts {
		most = max(most, p.Value)
	}
	return most
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
