require 'socket'

class Pool
  def open
    Socket.new(:INET, :STREAM) # SOCKET
  end
end

def serve(pool)
  loop do
    pool.open.close
    sleep 0.1
  end
end

serve(Pool.new)
