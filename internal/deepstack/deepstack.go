package deepstack
