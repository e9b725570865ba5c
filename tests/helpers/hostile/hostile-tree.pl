# Makes a hostile tree out of a seed, and goes on changing it until it is ended. It runs in a container, whose own file
# systems are all that it can reach. Every step is one change, many of which fail, as they may.
#
#   perl -e PROGRAM SEED STEPS ROOT...       says "built" after STEPS changes
use strict;
use warnings;
use POSIX ();

my ($seed, $steps, @roots) = @ARGV;
srand $seed;
$| = 1;
umask 0;
for my $root (@roots) { mkdir $root }

# lsetxattr, mknodat, utimensat
my %calls = (x86_64 => [189, 259, 280], aarch64 => [6, 33, 88]);
my ($lsetxattr, $mknodat, $utimensat) = @{ $calls{ (POSIX::uname())[4] } or die "no system calls known" };

sub any { return $_[int rand @_] }
sub bytes { return join '', map { chr int rand 256 } 1 .. $_[0] }

sub name {
    my $kind = int rand 10;
    return any("..x", " ", "-rf", "a\nb", "*", "\xff\xfe", "...", "con\tt") if $kind == 0;
    my $length = $kind == 1 ? 255 : 1 + int rand 12;
    my $name = bytes($length);
    $name =~ tr{/\0}{_}d;
    return $name =~ /^\.{0,2}$/ ? "dots" : $name;
}

sub entries {
    opendir(my $handle, $_[0]) or return ();
    my @names = sort grep { !/^\.\.?$/ } readdir $handle;
    return @names;
}

# A directory somewhere, no more than eight deep.
sub directory {
    my $path = any(@roots);
    for (1 .. 8) {
        last if rand() < 0.35;
        my @below = grep { !-l && -d } map { "$path/$_" } entries($path);
        last unless @below;
        $path = any(@below);
    }
    return $path;
}

sub entry {
    my $directory = directory();
    my @names = entries($directory);
    return @names ? "$directory/" . any(@names) : undef;
}

sub write_at {
    my ($path, $at, $data) = @_;
    return if -l $path || (-e _ && !-f _);
    sysopen(my $file, $path, POSIX::O_WRONLY() | POSIX::O_CREAT(), 0644) or return;
    sysseek $file, $at, 0;
    syswrite $file, $data;
    return $file;
}

sub attribute { my ($path, $name, $value) = @_; syscall $lsetxattr, $path, $name, $value, length $value, 0 }
sub node { my ($path, $mode, $major, $minor) = @_; syscall $mknodat, -100, $path, $mode, $major * 256 + $minor }
sub acl {
    my @users = sort { $a <=> $b } int rand 4e9, 4_000_000_001;
    return pack 'V (vvV)*', 2, 1, int rand 8, 0xffffffff, (map { (2, int(rand 8), $_) } @users), 4, int rand 8, 0xffffffff,
      16, int rand 8, 0xffffffff, 32, int rand 8, 0xffffffff;
}
sub remove {
    my ($path) = @_;
    if (!-l $path && -d _) { remove("$path/$_") for entries($path); rmdir $path }
    else { unlink $path }
}

# Files that stay open, and are written to by their descriptors alone.
my @open;

my @changes = (
    sub { write_at(directory() . "/" . name(), 0, bytes(int rand 9000)) } ,
    sub { write_at(directory() . "/" . name(), 0, bytes(int rand 300)) },
    sub { my $path = entry(); write_at($path, int rand 5000, bytes(1 + int rand 500)) if defined $path },
    sub { write_at(directory() . "/" . name(), int rand 20_000_000, bytes(1 + int rand 5000)) },
    sub {
        my $file = write_at(directory() . "/" . name(), 8192, bytes(100)) or return;
        truncate $file, 1 + int rand 1_000_000;
    },
    sub { mkdir directory() . "/" . name(), int rand 01000 },
    sub { mkdir directory() . "/" . name(), 0755 },
    sub { symlink any("/etc/passwd", "../../../../../..", "nowhere", bytes(40) =~ tr/\0/0/r, "/"), directory() . "/" . name() },
    sub { my $path = entry(); link $path, directory() . "/" . name() if defined $path },
    sub { my $path = entry(); rename $path, directory() . "/" . name() if defined $path },
    sub { my $path = entry(); remove($path) if defined $path },
    # Opaque where the image has such a directory.
    sub { my $path = entry(); if (defined $path && !-l $path && -d _) { remove($path); mkdir $path, 0711 } },
    # Another kind of thing under the same name.
    sub { my $path = entry(); if (defined $path) { remove($path); rand() < 0.5 ? symlink "/", $path : mkdir $path, 01777 } },
    sub { POSIX::mkfifo(directory() . "/" . name(), int rand 01000) },
    sub { node(directory() . "/" . name(), any(0020600, 0020666, 0060600), any([1, 3], [7, 0], [0, 0], [200, 255])->@*) },
    sub { node(directory() . "/" . name(), 0140755, 0, 0) },
    sub { my $path = entry(); chmod int rand 010000, $path if defined $path && !-l $path },
    sub { my $path = entry(); chmod any(04755, 02775, 0), $path if defined $path && !-l $path },
    sub { my $path = entry(); POSIX::lchown(int rand 4e9, int rand 4e9, $path) if defined $path },
    sub {
        my $path = entry();
        my @times = map { int(rand 6e9) - 1e9, int rand 1e9 } 1, 2;
        syscall $utimensat, -100, $path, pack('q4', @times), 256 if defined $path;
    },
    sub { my $path = entry(); attribute($path, "user." . any("a", "b", "\xc3\xa9", "x" x 200), bytes(int rand 400)) if defined $path },
    sub { my $path = entry(); attribute($path, "security.capability", pack 'V5', 0x02000001, 1 << int rand 20, 0, 0, 0) if defined $path },
    sub { my $path = entry(); attribute($path, any("system.posix_acl_access", "system.posix_acl_default"), acl()) if defined $path },
    sub {
        my $file = write_at(directory() . "/" . name(), 0, "kept open\n");
        push @open, $file if $file;
        shift @open if @open > 6;
    },
    sub { for my $file (@open) { sysseek $file, int rand 100_000, 0; syswrite $file, bytes(1 + int rand 100) } },
);

for (1 .. $steps) { any(@changes)->() }
print "built\n";
for (;;) {
    any(@changes)->() for 1 .. 3;
    select undef, undef, undef, 0.002;
}
