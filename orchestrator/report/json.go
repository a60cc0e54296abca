package report

import (
	"encoding/json"
	"io"
	"math"
	"slices"
)

// WriteJSON writes r as the contract has it: lists are never null, times are
// rounded to microseconds.
func WriteJSON(w io.Writer, r *Result) error {
	return writeIndented(w, presentable(r))
}

func writeIndented(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// presentable gives a copy of r, of which nothing is shared but texts, with
// every list there and every time rounded.
func presentable(r *Result) *Result {
	c := *r
	c.Seconds = round(c.Seconds, 6)
	c.Hosts = list(r.Hosts)
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.Stages = list(h.Stages)
		for j := range h.Stages {
			s := &h.Stages[j]
			s.Started, s.Seconds = round(s.Started, 6), round(s.Seconds, 6)
			s.Notes = slices.Clone(s.Notes)
		}
	}
	c.Probes = list(r.Probes)
	for i := range c.Probes {
		c.Probes[i].Throughput = round(c.Probes[i].Throughput, 3)
		rtt := &c.Probes[i].RTT // in milliseconds
		rtt.Min, rtt.Avg, rtt.Max = round(rtt.Min, 3), round(rtt.Avg, 3), round(rtt.Max, 3)
	}
	c.Findings = list(r.Findings)
	for i := range c.Findings {
		c.Findings[i].Probes = list(c.Findings[i].Probes)
	}
	c.Left = list(r.Left)
	if r.Objects != nil {
		c.Objects = list(r.Objects)
		for i := range c.Objects {
			c.Objects[i].Changes = list(c.Objects[i].Changes)
		}
	}
	c.Topology.Networks = list(r.Topology.Networks)
	c.Topology.Endpoints = list(r.Topology.Endpoints)
	c.Topology.Underlays = slices.Clone(r.Topology.Underlays)
	c.Gates = slices.Clone(r.Gates)
	return &c
}

// list gives a copy of s that is not nil.
func list[T any](s []T) []T {
	return append(make([]T, 0, len(s)), s...)
}

func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
