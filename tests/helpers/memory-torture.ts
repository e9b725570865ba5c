/**
 * A program that uses its memory in every way that a pager has to follow, and checks each byte of it all the time: it
 * grows blocks (mremap), frees them (munmap), gives parts up (madvise), and forks children that check what they inherit.
 * In Perl, which the workload image has; large strings of it are mappings of their own.
 */

/** What it writes, once at the start and then after each round. */
export interface TortureReport {
  rounds: number;
  wrong: number;
}

export const parseTorture = (log: string): TortureReport => {
  const last = log.trim().split("\n").at(-1) ?? "";
  const [rounds, wrong] = /^round (\d+) wrong (\d+)$/.exec(last)?.slice(1).map(Number) ?? [];
  if (rounds === undefined || wrong === undefined) throw new Error(`no report of the torture program: ${last}`);
  return { rounds, wrong };
};

/** Fills `blocks` blocks of `megabytes` MB; each of its processes has as many. */
export const tortureCommand = (blocks: number, megabytes: number, processes: number): string[] => [
  "perl",
  "-e",
  program,
  String(blocks),
  String(megabytes),
  String(processes),
];

const program = String.raw`
use strict;
my ($blocks, $megabytes, $processes) = @ARGV;
$| = 1;
my @kids;
for (2 .. $processes) { my $kid = fork // die; if (!$kid) { @kids = (); last } push @kids, $kid }
my $leader = @kids || $processes == 1;
srand($$);
my ($rounds, $wrong) = (0, 0);
sub page { my ($block, $at) = @_; pack("NNN", $$ ^ 0x5a5a5a5a, $block, $at) . chr(1 + ($block * 7 + $at) % 255) x 4084 }
my $owner = $$;
sub made { my ($block, $from, $to) = @_; join "", map { pack("NNN", $owner, $block, $_) . chr(1 + ($block * 7 + $_) % 255) x 4084 } $from .. $to - 1 }
my (@data, @pages, @zero);
sub fill { my $b = shift; $data[$b] = ""; $pages[$b] = 256 * $megabytes; $data[$b] .= made($b, $_ * 256, $_ * 256 + 256) for 0 .. $megabytes - 1; $zero[$b] = undef }
sub check {
  my $b = shift;
  for my $part (0 .. $pages[$b] / 256 - 1) {
    my $have = substr($data[$b], $part << 20, 1 << 20);
    my $want = made($b, $part * 256, $part * 256 + 256);
    if ($zero[$b]) {
      my ($from, $to) = @{ $zero[$b] };
      my ($low, $high) = ($from - ($part << 20), $to - ($part << 20));
      $low = 0 if $low < 0; $high = 1 << 20 if $high > 1 << 20;
      substr($want, $low, $high - $low) = "\0" x ($high - $low) if $low < $high;
    }
    $wrong++ if $have ne $want;
  }
}
fill($_) for 0 .. $blocks - 1;
my $stop = 0;
while (1) {
  my $b = int rand $blocks;
  my $what = int rand 8;
  if ($what == 0) { undef $data[$b]; fill($b) }
  elsif ($what == 1 && $pages[$b] < 512 * $megabytes) { $data[$b] .= made($b, $pages[$b], $pages[$b] + 256); $pages[$b] += 256 }
  elsif ($what == 2 && !$zero[$b]) {
    my $start = unpack "J", pack "p", $data[$b];
    my $from = ($start + 4095 & ~4095) + 4096 * int rand 200;
    my $bytes = 4096 * (1 + int rand 30);
    if (syscall(28, $from, $bytes, 4) == 0) { $zero[$b] = [$from - $start, $from - $start + $bytes] }
  }
  elsif ($what == 3) {
    my $kid = fork // die;
    if (!$kid) { $wrong = 0; check(int rand $blocks) for 1 .. 3; require POSIX; POSIX::_exit($wrong > 250 ? 250 : $wrong) }
    waitpid $kid, 0;
    $wrong += $? == 0 ? 0 : 1;
  }
  else { check($b) }
  $rounds++;
  if ($wrong || $rounds % 8 == 0) { print "round $rounds wrong $wrong\n" if $leader || $wrong }
  select undef, undef, undef, 0.002;
}
`;
