package plan

import (
	"slices"

	"vxorch/remote/hostapi"
)

// Undo gives the steps that take away what made, steps that create, has made:
// the reverse in the reverse order.
func Undo(made []hostapi.Step) []hostapi.Step {
	var undo []hostapi.Step
	for _, s := range slices.Backward(made) {
		s.Op = hostapi.Remove
		if s.Domain != nil { // nor does its seed have to travel again
			s.Domain = &hostapi.Domain{Name: s.Domain.Name, For: s.Domain.For}
		}
		undo = append(undo, s)
	}
	return undo
}
