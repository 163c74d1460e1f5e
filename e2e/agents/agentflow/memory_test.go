package main

import (
	"testing"
	"time"
)

func TestNoRunStartsAboveTheMarkAndAfterwardsOneAtATime(t *testing.T) {
	resident, known := residentBytes()
	if !known {
		t.Fatal("resident memory is not known")
	}
	limit := resident + 64<<20
	g := newGate(limit)
	if !g.mayStart() || !g.mayStart() {
		t.Error("refused below the mark")
	}
	taken, err := newBlock(limit)
	if err != nil {
		t.Fatal(err)
	}
	if g.mayStart() {
		t.Error("a run starts above the mark")
	}
	taken.release()
	if !g.open() {
		t.Fatal("freed memory is still counted")
	}
	start := func() time.Time {
		for !g.mayStart() {
			time.Sleep(ramp / 20)
		}
		return time.Now()
	}
	if first, second := start(), start(); second.Sub(first) < ramp*9/10 {
		t.Error("a whole queue is let go at once")
	}
}

func TestABlockIsThereUntilItsLastHolderReleasesIt(t *testing.T) {
	before, _ := residentBytes()
	const size = 32 << 20
	b, err := newBlock(size)
	if err != nil {
		t.Fatal(err)
	}
	b.hold()
	b.release()
	if held, _ := residentBytes(); held < before+size*9/10 {
		t.Errorf("%d bytes became %d", before, held)
	}
	b.release()
	if held, _ := residentBytes(); held > before+size/2 {
		t.Errorf("%d bytes stayed %d", before, held)
	}
}
