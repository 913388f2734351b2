# Leaks COUNT sockets, PAUSE ms apart, and ends without closing them.
require 'socket'

$kept = []

def leak_here
  $kept << Socket.new(:INET, :STREAM) # LEAK
end

ARGV[0].to_i.times do
  leak_here
  sleep ARGV[1].to_i / 1000.0
end
exit!
