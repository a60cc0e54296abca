package push

import (
	"testing"
	"time"
)

func TestAsManyWritesAreUnderWayAsTheLineIsLong(t *testing.T) {
	for _, c := range []struct {
		line      string
		roundTrip time.Duration
		want      int
	}{
		{"the machine itself", 0, 8},
		{"a switch", time.Millisecond, 8},
		{"a town", 5 * time.Millisecond, 20},
		{"a continent", 16 * time.Millisecond, 64},
		{"an ocean", 100 * time.Millisecond, 64}, // 2 MiB a round trip: the helper takes two
		{"a satellite", time.Minute, 64},
	} {
		if got := writes(c.roundTrip); got != c.want {
			t.Errorf("%s, %s away: %d writes, want %d", c.line, c.roundTrip, got, c.want)
		}
	}
}
